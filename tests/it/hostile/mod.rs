//! Clients and origins that do not keep to the protocol.

mod clients;
mod origins;
