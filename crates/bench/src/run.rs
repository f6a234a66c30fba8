//! A run: for each engine and size, a loaded server, each work measured beside its limit, one report.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};

use crate::{
    Result,
    database::{Database, Engine, Yard},
    progress,
    report::{self, Report, Row, Site},
    server::Server,
    work::{self, Stage, Work},
};

/// The smaller size of `--growth`.
const SMALL: u64 = 100_000;
/// Longest wait for the look-out for duplicates after a load.
const CATCH_UP: Duration = Duration::from_secs(1_800);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engines {
    Sqlite,
    Postgres,
    Both,
}

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// People to load.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=4_000_000))]
    profiles: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_enum, default_value = "sqlite")]
    database: Engines,
    /// Any database of a PostgreSQL server whose user may create databases; scratch databases are made beside it.
    #[arg(long, env = "TEST_POSTGRES_URL", hide_env_values = true)]
    postgres_url: Option<String>,
    /// The server to measure [default: `people` beside this program].
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Folder for bench.txt, bench.json and bench.svg. Scratch databases are made in it too: writes go to its disk.
    #[arg(long, default_value = "report")]
    report: PathBuf,
    /// Only these works, in any order: read,search,filter,count,export,upsert,batch,events,timeline,
    /// living,overload,bulk,merge,duplicates,memory,import,start.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Work>,
    /// Folder in which loaded databases are kept; the run works on copies.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Uses what an earlier run with --keep loaded, where it is there.
    #[arg(long, requires = "keep")]
    reuse: bool,
    /// Longest time for each load, in seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Events that `timeline` loads [default: 5 for each person].
    #[arg(long, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    events: Option<u64>,
    /// Runs 100,000 people first, and shows how much worse each work gets at --profiles.
    #[arg(long)]
    growth: bool,
}

impl Options {
    fn engines(&self) -> Vec<Engine> {
        match (self.database, &self.postgres_url) {
            (Engines::Sqlite, _) => vec![Engine::Sqlite],
            (Engines::Postgres, _) => vec![Engine::Postgres],
            (Engines::Both, Some(_)) => vec![Engine::Sqlite, Engine::Postgres],
            (Engines::Both, None) => {
                progress("PostgreSQL is skipped: --postgres-url is not given");
                vec![Engine::Sqlite]
            }
        }
    }

    /// Sizes to run, and whether the size is there for growth only.
    fn sizes(&self) -> Vec<(u64, bool)> {
        let mut sizes = vec![(self.profiles, false)];
        if self.growth {
            sizes.insert(0, (if self.profiles > SMALL { SMALL } else { self.profiles / 10 }, true));
        }
        sizes
    }

    fn wants(&self, work: Work, for_growth: bool) -> bool {
        let chosen = self.only.is_empty() || self.only.contains(&work);
        chosen
            && !(for_growth && matches!(work, Work::Timeline | Work::Export | Work::Overload | Work::Memory | Work::Import | Work::Start))
    }

    fn server(&self) -> Result<PathBuf> {
        let path = match &self.server_bin {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name(format!("people{}", std::env::consts::EXE_SUFFIX)),
        };
        if path.is_file() {
            Ok(path)
        } else {
            Err(format!("there is no server at {}; build it, or name it by --server-bin", path.display()).into())
        }
    }
}

/// Runs everything and writes the report. The table is also returned.
pub async fn run(options: &Options) -> Result<String> {
    let binary = options.server()?;
    std::fs::create_dir_all(&options.report)?;
    if let Some(keep) = &options.keep {
        std::fs::create_dir_all(keep)?;
    }
    let scratch = tempfile::Builder::new().prefix("scratch-").tempdir_in(&options.report)?;
    let yard = Yard { scratch: scratch.path().to_owned(), keep: options.keep.clone(), postgres_url: options.postgres_url.clone() };

    let mut report = Report { facts: vec![report::machine(), build_facts(&binary)], rows: Vec::new() };
    for engine in options.engines() {
        for (profiles, for_growth) in options.sizes() {
            let site = Site { engine, profiles };
            progress(format_args!("{engine}, {profiles} profiles"));
            run_site(options, &binary, &yard, site, for_growth, &mut report).await?;
        }
    }
    if options.growth {
        let grown = report::growth(&report.rows);
        report.rows.extend(grown);
        // Stable: the rows of an engine and size stay in their order, growth after them.
        report.rows.sort_by_key(|row| (row.engine == Engine::Postgres, row.profiles));
    }

    let table = report::table::render(&report);
    std::fs::write(options.report.join("bench.txt"), &table)?;
    std::fs::write(options.report.join("bench.json"), report::json::render(&report)?)?;
    std::fs::write(options.report.join("bench.svg"), report::svg::render(&report))?;
    Ok(table)
}

fn build_facts(binary: &Path) -> String {
    let mut facts = String::from("every limit was taken in the same run, right after the work it belongs to");
    // Only a guess from the folder's name, but one that saves an evening.
    if binary.components().any(|part| part.as_os_str() == "debug") {
        facts.push_str("; THE SERVER LOOKS LIKE A DEBUG BUILD: its figures say nothing");
    }
    if cfg!(debug_assertions) {
        facts.push_str("; THE CLIENT IS A DEBUG BUILD: it takes more of the cores than it should");
    }
    facts
}

/// Everything on one engine at one size. Databases that are not to be kept are removed, whatever happened.
async fn run_site(options: &Options, binary: &Path, yard: &Yard, site: Site, for_growth: bool, report: &mut Report) -> Result<()> {
    let loaded = yard.loaded(site.engine, site.profiles, options.seed)?;
    let working = if yard.keep.is_some() { yard.working_copy(site.engine)? } else { loaded.clone() };
    let done = tokio::select! {
        done = load_and_measure(options, binary, yard, site, for_growth, &loaded, &working, report) => done,
        () = interrupted() => Err("interrupted".into()),
    };
    working.remove().await?;
    done
}

#[expect(clippy::too_many_arguments, reason = "one call, split off so that its caller can clean up after it")]
async fn load_and_measure(
    options: &Options,
    binary: &Path,
    yard: &Yard,
    site: Site,
    for_growth: bool,
    loaded: &Database,
    working: &Database,
    report: &mut Report,
) -> Result<()> {
    if Work::ALL.into_iter().filter(|work| options.wants(*work, for_growth)).all(|work| work == Work::Import) {
        progress(format_args!("{}: nobody is loaded, an import has a directory of its own", site.engine));
        loaded.create().await?;
        Server::people(binary, &loaded.url).await?.kill().await?;
    } else if options.reuse && loaded.profiles().await == Some(site.profiles) {
        progress(format_args!("{}: the kept database is used", site.engine));
    } else {
        loaded.create().await?;
        let server = Server::people(binary, &loaded.url).await?;
        report.rows.push(work::load::load(&server, site, options.seed).await?);
        server.settle().await;
        // What follows the writes has caught up, so that it does not run beside what is measured next.
        let begun = Instant::now();
        while loaded.unlooked().await? > 0 && begun.elapsed() < CATCH_UP {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        progress(format_args!("{}: duplicates looked for {:.0} s after the load", site.engine, begun.elapsed().as_secs_f64()));
        loaded.tidy().await?;
        server.kill().await?;
    }
    if yard.keep.is_some() {
        working.copy_from(loaded).await?;
    }

    let server = Server::people(binary, &working.url).await?;
    server.settle().await;
    let facts = working.facts().await?;
    if !report.facts.contains(&facts) {
        report.facts.push(facts);
    }
    let (workspace, ids) = working.everyone().await?;
    let stage = Stage {
        server,
        database: working.clone(),
        site,
        seed: options.seed,
        workspace,
        ids,
        time: Duration::from_secs(options.seconds),
        scratch: yard.scratch.clone(),
        spare: yard.spare(site.engine)?,
    };
    let spare = stage.spare.clone();
    measure(options, binary, stage, for_growth, &mut report.rows).await;
    spare.remove().await
}

/// A work that fails leaves a row that says so, and the others go on.
async fn measure(options: &Options, binary: &Path, stage: Stage, for_growth: bool, rows: &mut Vec<Row>) {
    let wanted: Vec<Work> = Work::ALL.into_iter().filter(|work| options.wants(*work, for_growth)).collect();
    let truth = wanted.iter().any(|work| matches!(work, Work::Filter | Work::Count)).then(|| work::filter::bitmaps(&stage));
    let site = stage.site;
    let mut stage = Some(stage);
    for work in wanted {
        progress(format_args!("{}: {work}", site.engine));
        let measured = match (work, &stage, &truth) {
            (Work::Start, _, _) => match stage.take() {
                Some(stage) => work::start::measure(stage, binary).await,
                None => Ok(Vec::new()),
            },
            (_, None, _) => Err("the server is gone".into()),
            (Work::Read, Some(stage), _) => work::read::measure(stage).await,
            (Work::Search, Some(stage), _) => work::search::measure(stage).await,
            (Work::Filter, Some(stage), Some(truth)) => work::filter::measure_pages(stage, truth).await,
            (Work::Count, Some(stage), Some(truth)) => work::filter::measure_counts(stage, truth).await,
            (Work::Filter | Work::Count, Some(_), None) => Ok(Vec::new()),
            (Work::Export, Some(stage), _) => work::export::measure(stage).await,
            (Work::Upsert, Some(stage), _) => work::upsert::measure(stage).await,
            (Work::Batch, Some(stage), _) => work::batch::measure(stage).await,
            (Work::Events, Some(stage), _) => work::events::measure(stage).await,
            (Work::Timeline, Some(stage), _) => work::timeline::measure(stage, options.events.unwrap_or(site.profiles * 5)).await,
            (Work::Living, Some(stage), _) => work::living::measure(stage).await,
            (Work::Overload, Some(stage), _) => work::overload::measure(stage).await,
            (Work::Bulk, Some(stage), _) => work::bulk::measure(stage).await,
            (Work::Merge, Some(stage), _) => work::merge::measure(stage).await,
            (Work::Duplicates, Some(stage), _) => work::duplicates::measure(stage).await,
            (Work::Import, Some(stage), _) => work::import::measure(stage, binary).await,
            (Work::Memory, Some(stage), _) => Ok(work::memory::measure(stage)),
        };
        match measured {
            Ok(measured) => rows.extend(measured),
            Err(why) => rows.push(Row::failed(site, name_of(work), why)),
        }
        if let Some(stage) = &stage {
            stage.server.settle().await;
        }
    }
}

fn name_of(work: Work) -> &'static str {
    match work {
        Work::Read => "read",
        Work::Search => "search",
        Work::Filter => "filter",
        Work::Count => "count",
        Work::Export => "export",
        Work::Upsert => "upsert",
        Work::Batch => "batch",
        Work::Events => "events",
        Work::Timeline => "timeline",
        Work::Living => "living",
        Work::Overload => "overload",
        Work::Bulk => "bulk",
        Work::Merge => "merge",
        Work::Duplicates => "duplicates",
        Work::Import => "import",
        Work::Memory => "memory",
        Work::Start => "start",
    }
}

/// Ends when the person at the keyboard, or whoever runs this, wants to stop.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
