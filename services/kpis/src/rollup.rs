//! From events to figures, purely: no database, clock or network. Every number in between is an integer, and everything
//! is a sum, a set or a sort, so the order in which events arrive cannot show.
//!
//! ```text
//! event ─ record ─▶ facts ─ definition (CEL) ─▶ contributions ─ cells (sums) ─▶ figure
//!                                                     └────── quantile, distinct, share, span ──▶ figure
//!                                                     ├────── suppression ──▶ what is hidden
//!                                                     └────── experiment ──▶ arms, difference
//! ```

pub(crate) mod built_in;
pub(crate) mod contribution;
pub(crate) mod definition;
pub(crate) mod experiment;
pub(crate) mod figure;
pub(crate) mod judge;
pub(crate) mod record;
pub(crate) mod statistics;
pub(crate) mod suppression;
pub(crate) mod survival;

#[cfg(test)]
mod tests;
