//! What answers when the origin is slow, failing or gone.

mod background;
mod head;
mod on_error;
