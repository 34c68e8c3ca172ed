//! # What customers answered, and what must be done about it: surveys, cases, safety screening
