//! Stories on a whole platform, in each topology. One binary; one file per story a user would tell.

#[cfg(feature = "failpoints")]
mod crash_at_any_point;
mod one_trace_per_command;
mod same_answers_in_every_topology;

/// The node binary.
const NODE: &str = env!("CARGO_BIN_EXE_node");
