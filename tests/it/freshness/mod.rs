//! Freshness, validation and what a stored response answers.

mod alone;
mod conditions;
mod directives;
mod fields;
mod hit;
mod made_here;
mod storing;
mod targeted;
mod validate;
