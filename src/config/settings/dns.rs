//! The settings of `[dns]`.

use super::super::Config;
use super::super::typed::Kind::{Count, Plain};
use super::{DEADLINE, Setting};

pub(super) const DNS: &[Setting<Config>] = &[
    Setting::new(
        "servers",
        Plain,
        |config: &mut Config| &mut config.dns.servers,
        "The DNS servers that are asked, such as [\"127.0.0.1:8600\"]. None: those of /etc/resolv.conf, and \
         /etc/hosts goes before them.",
    )
    .at_restart(),
    Setting::new(
        "prefer",
        Plain,
        |config: &mut Config| &mut config.dns.prefer,
        "Which addresses are taken of a name that has both: \"v4\", \"v6\", or \"both\" as if they were \
         different servers.",
    )
    .at_restart(),
    Setting::new(
        "timeout",
        DEADLINE,
        |config: &mut Config| &mut config.dns.timeout,
        "How long a DNS server may take to answer. No client's request waits for it, but for the first answer \
         after a start.",
    )
    .at_restart(),
    Setting::new(
        "min_ttl",
        DEADLINE,
        |config: &mut Config| &mut config.dns.min_ttl,
        "How long an answer is used at least, whatever it says.",
    )
    .at_restart(),
    Setting::new(
        "max_ttl",
        DEADLINE,
        |config: &mut Config| &mut config.dns.max_ttl,
        "How long an answer is used at most before the name is looked up again. While DNS fails the last good \
         answer is used for as long as it takes.",
    )
    .at_restart(),
    Setting::new(
        "max_endpoints",
        Count { least: 1, most: 10_000 },
        |config: &mut Config| &mut config.dns.max_endpoints,
        "The most servers that one name stands for; more are left out.",
    )
    .at_restart(),
];
