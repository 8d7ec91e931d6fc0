//! The integration tests: rules as tables, the configuration, and scenarios with
//! a scripted origin, a real node and raw clients.

#![allow(clippy::type_complexity, reason = "the rows of tables are tuples, read beside their table")]

mod cluster;
mod collapse;
mod config;
mod conformance;
mod explain;
mod freshness;
mod harness;
mod hidden;
mod hidden_cluster;
mod hostile;
mod life;
mod limits;
mod methods;
mod origins;
mod proxy;
mod purge;
mod ranges;
mod rules;
mod stale;
mod stream;
mod tidy;
mod vary;
mod warm;
