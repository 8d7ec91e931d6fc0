//! Bodies of any size, in bounded memory.

mod large;
