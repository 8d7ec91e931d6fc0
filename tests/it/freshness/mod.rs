//! Freshness, validation and what a stored response answers.

mod hit;
