//! Several responses under one URL.

mod honest;
mod variants;
