//! The integration tests: rules as tables, the configuration, and scenarios with
//! a scripted origin, a real node and raw clients.

mod config;
mod freshness;
mod harness;
mod hostile;
mod limits;
mod methods;
mod proxy;
mod ranges;
mod vary;
