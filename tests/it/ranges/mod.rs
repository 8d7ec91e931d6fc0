//! Parts of a response.

mod answers;
mod cold;
