//! The program itself, built with the tests: what drives it from outside need not build it again.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    rapport::main().await
}
