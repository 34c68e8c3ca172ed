//! Between messages and domain values; the only files that see both.

pub(crate) mod request;
pub(crate) mod resource;
pub(crate) mod step;
