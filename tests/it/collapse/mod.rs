//! Many clients, one origin request.

mod limits;
mod release;
mod share;
mod variants;
