//! Many clients, one origin request.

mod limits;
mod order;
mod release;
mod share;
mod variants;
