//! The program itself, built with the tests: what drives it from outside need not build it again.

use std::process::ExitCode;

use clap::Parser as _;
use rapport::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rapport: {error:#}");
            ExitCode::FAILURE
        }
    }
}
