//! Several responses under one URL.

mod choice;
mod honest;
mod variants;
