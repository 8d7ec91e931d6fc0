//! Several responses under one URL.

mod variants;
