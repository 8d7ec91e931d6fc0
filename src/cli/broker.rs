//! The commands that concern what stands at the broker for hidden routes.

use std::process::ExitCode;

use super::{failed, print};
use crate::broker::{self, BrokerError, Found, Topology};
use crate::config::Config;
use crate::node::hidden::topology;

/// Makes what is not there yet.
pub(super) fn declare(config: &Config) -> ExitCode {
    with(config, async |topology: Topology| {
        let taken = broker::declare(config.broker.clone(), &topology).await?;
        let parts = topology.parts().len();
        let mut text = format!("{parts} queues and exchanges of {} are there\n", topology.name);
        if taken > 0 {
            text.push_str(&format!(
                "{taken} of them were there before, and this user may not ask whether they are as they should be\n"
            ));
        }
        Ok((text, ExitCode::SUCCESS))
    })
}

/// Says how everything stands.
pub(super) fn check(config: &Config) -> ExitCode {
    with(config, async |topology: Topology| {
        let found = broker::check(config.broker.clone(), &topology).await?;
        let good = found.iter().all(|(_, found)| matches!(found, Found::Good | Found::Unverified));
        let width = found.iter().map(|(part, _)| part.name.len()).max().unwrap_or_default();
        let lines = found.iter().map(|(part, found)| {
            let is = match found {
                Found::Good => "good".to_owned(),
                Found::Unverified => "there; this user may not ask whether it is as it should be".to_owned(),
                Found::Missing => "missing; `forebay broker declare` makes it".to_owned(),
                Found::Different(why) => format!("not as it should be: {why}"),
            };
            format!("{:width$}  {is}\n", part.name)
        });
        Ok((lines.collect(), if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
    })
}

fn with<F>(config: &Config, what: impl FnOnce(Topology) -> F) -> ExitCode
where
    F: Future<Output = Result<(String, ExitCode), BrokerError>>,
{
    if config.broker.urls.is_empty() {
        return failed(&"forebay: there is no broker; set broker.urls");
    }
    let topology = topology(config);
    if topology.origins.is_empty() {
        return failed(&"forebay: no route is hidden, so nothing is needed at the broker");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("forebay: {error}")),
    };
    match runtime.block_on(what(topology)) {
        Ok((text, code)) => {
            print(&text);
            code
        }
        Err(error) => failed(&format!("forebay: {error}")),
    }
}
