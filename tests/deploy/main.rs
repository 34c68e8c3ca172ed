//! What deploys and watches Rapport, checked without a cluster.

mod chart;
mod compose;
mod monitoring;

/// The program, as it is built with the tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_program");
