//! The command line of the benchmark: `generate` prints people, `run` measures a server, `limit-server` is what `run`
//! starts to show a limit.

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use people_bench::{Result, demo, limits, people, run};
use uuid::Uuid;

#[derive(Debug, Parser)]
#[command(name = "people-bench", about = "Generates a directory, loads it, and measures the server beside its limits")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints generated people; the same seed gives the same people.
    Generate {
        #[arg(long, default_value_t = 1_000)]
        profiles: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, value_enum, default_value = "ndjson")]
        format: Format,
    },
    /// Loads a server and measures it; prints the table, and writes it with JSON and a chart to the report folder.
    Run(Box<run::Options>),
    /// Loads 1,000 real records into a server of its own, and looks around in them.
    Demo(demo::Options),
    /// Serves what a limit is measured on, until standard input ends.
    #[command(hide = true)]
    LimitServer {
        #[arg(long, value_enum)]
        mode: limits::http::Mode,
        #[arg(long)]
        database: Option<String>,
        #[arg(long)]
        workspace: Option<Uuid>,
        #[arg(long)]
        body: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            people_bench::progress(why);
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Generate { profiles, seed, format } => {
            let out = BufWriter::new(std::io::stdout().lock());
            match format {
                Format::Ndjson => people::write_ndjson(seed, profiles, out),
                Format::Csv => people::write_csv(seed, profiles, out),
            }
        }
        Command::Run(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let table = runtime.block_on(run::run(&options))?;
            Ok(std::io::stdout().write_all(table.as_bytes())?)
        }
        Command::Demo(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let told = runtime.block_on(demo::run(&options))?;
            Ok(std::io::stdout().write_all(told.as_bytes())?)
        }
        Command::LimitServer { mode, database, workspace, body } => {
            limits::http::serve(mode, database.as_deref(), workspace, body.as_deref())
        }
    }
}
