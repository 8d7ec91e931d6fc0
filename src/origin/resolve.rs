//! Finding the servers of an origin by their names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::observe::counters::Counters;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Name {
    Host { host: String, port: u16 },
    Service(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub weight: u32,
    pub priority: u16,
    pub host: String,
}

impl Endpoint {
    pub fn authority(&self) -> String {
        let port = self.address.port();
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Settings {}

#[derive(Clone)]
pub struct Resolver;

#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct View {
    pub name: String,
}

pub struct Watch {
    name: String,
    endpoints: watch::Receiver<Option<Arc<[Endpoint]>>>,
    task: Option<AbortHandle>,
}

impl Resolver {
    pub fn new(_: Settings, _: Arc<Counters>) -> Result<Resolver, String> {
        Ok(Resolver)
    }

    pub fn watch(&self, name: Name) -> Watch {
        let Name::Host { host, port } = name else { panic!() };
        let bare = host.trim_matches(['[', ']']).to_owned();
        let (told, endpoints) = watch::channel(None);
        let make = {
            let host = bare.clone();
            move |address| Endpoint { address, weight: 1, priority: 0, host: host.clone() }
        };
        if let Ok(ip) = bare.parse::<IpAddr>() {
            told.send_replace(Some(Arc::from([make(SocketAddr::new(ip, port))])));
            return Watch { name: host, endpoints, task: None };
        }
        let task = tokio::spawn(async move {
            loop {
                let found = tokio::net::lookup_host((bare.as_str(), port)).await;
                let found: Vec<Endpoint> = found.into_iter().flatten().map(&make).collect();
                told.send_replace(Some(found.into()));
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        Watch { name: host, endpoints, task: Some(task.abort_handle()) }
    }
}

impl Watch {
    pub fn endpoints(&self) -> Arc<[Endpoint]> {
        self.endpoints.borrow().clone().unwrap_or_else(|| Arc::from([]))
    }
    pub async fn changed(&mut self) {
        if self.endpoints.changed().await.is_err() {
            std::future::pending().await
        }
    }
    pub async fn first(&mut self) {
        let _ = self.endpoints.wait_for(Option::is_some).await;
    }
    pub fn view(&self) -> View {
        View { name: self.name.clone() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}
