//! `people`: the server and its command line.

use clap::Parser as _;
use people_api::cli::{Cli, run};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "what went wrong goes to standard error")]
async fn main() -> std::process::ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("people: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
