//! Parts of a response.

mod answers;
