//! An import of as many rows as there are people into a directory of its own: undisturbed, then once more with the server
//! killed three times on the way. Both must end in the same directory.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Stage,
    digest::{digest, without_ids_and_times},
    post,
};
use crate::{
    Result,
    client::Call,
    people::{self, ATTRIBUTES},
    report::{Row, Target, Unit},
    server::Server,
};

const WORK: &str = "import of as many rows of CSV, one in a hundred bad";
const KILLED: &str = "the same import, its server killed three times";
/// Of so many rows, one has an e-mail address that is none.
const BAD: u64 = 100;
const LONGEST: Duration = Duration::from_secs(3_600);
/// Buffers and caches; more would be growth with the length of the file.
const FLAT: f64 = 50.0;

/// The file, and the lines of its bad rows.
fn file(seed: u64, rows: u64) -> Result<(Vec<u8>, Vec<u64>)> {
    let mut good = Vec::new();
    people::write_csv(seed, rows, &mut good)?;
    let mut out = Vec::with_capacity(good.len());
    let mut bad = Vec::new();
    for (at, line) in good.split_inclusive(|byte| *byte == b'\n').enumerate() {
        // The first line names the columns; generated rows have no line breaks of their own.
        if at as u64 % BAD == 7 {
            bad.push(at as u64 + 1);
            let rest = line.iter().position(|byte| *byte == b',').unwrap_or(0);
            out.extend_from_slice(b"not an address");
            out.extend_from_slice(&line[rest..]);
        } else {
            out.extend_from_slice(line);
        }
    }
    Ok((out, bad))
}

/// What an import came to.
struct Done {
    seconds: f64,
    job: Value,
    /// Of the server, in bytes: after the first hundredth of the file, and at most.
    memory: Option<(u64, u64)>,
    /// Of people, whatever their ids and the times of their rows.
    digest: u64,
    people: u64,
    bad: Vec<u64>,
}

async fn import(stage: &Stage, binary: &Path, file: &[u8], kills: u64) -> Result<Done> {
    stage.spare.create().await?;
    let mut server = Server::people(binary, &stage.spare.url).await?;
    for (key, kind) in ATTRIBUTES {
        server.target.json(post("/v1/properties", &json!({"key": key, "type": kind}))).await?;
    }
    let begun = Instant::now();
    let job = server.target.json(Call::post("/v1/imports", file.to_vec()).content_type("text/csv")).await?;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_default());
    let (mut first, mut most, mut killed) = (None, 0, 0);
    let job = loop {
        let now = server.target.json(Call::get(path.as_str())).await?;
        let (processed, total) = (now["processed"].as_u64().unwrap_or(0), stage.site.profiles);
        if now["status"] == "succeeded" {
            break now;
        }
        if now["status"] != "queued" && now["status"] != "running" || begun.elapsed() > LONGEST {
            return Err(format!("the import came to this: {now}").into());
        }
        if killed < kills && processed > total * (killed + 1) / (kills + 1) {
            server.kill().await?;
            server = Server::people(binary, &stage.spare.url).await?;
            killed += 1;
        }
        if let Some(memory) = server.memory().filter(|_| processed > total / 100) {
            let _ = first.get_or_insert(memory.own);
            most = most.max(memory.own);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let seconds = begun.elapsed().as_secs_f64();
    if killed < kills {
        return Err(format!("only {killed} kills while it ran").into());
    }
    let bad = errors(&server, &path).await?;
    let (digest, people) = digest(&server.target, |person| Some(without_ids_and_times(person))).await?;
    server.kill().await?;
    Ok(Done { seconds, job, memory: first.map(|first| (first, most)), digest, people, bad })
}

/// The lines that were refused, all of them.
async fn errors(server: &Server, job: &str) -> Result<Vec<u64>> {
    let mut lines = Vec::new();
    let mut path = format!("{job}/errors?limit=200");
    loop {
        let page = server.target.json(Call::get(path.as_str())).await?;
        lines.extend(page["data"].as_array().into_iter().flatten().filter_map(|error| error["line"].as_u64()));
        let Some(next) = page["next_cursor"].as_str() else { return Ok(lines) };
        path = format!("{job}/errors?limit=200&cursor={}", crate::client::encode(next));
    }
}

pub async fn measure(stage: &Stage, binary: &Path) -> Result<Vec<Row>> {
    let site = stage.site;
    let (file, bad) = file(stage.seed, site.profiles)?;
    let undisturbed = import(stage, binary, &file, 0).await?;
    let disturbed = import(stage, binary, &file, 3).await?;
    stage.spare.remove().await?;
    let wrong = |done: &Done| {
        let good = site.profiles - bad.len() as u64;
        (done.bad != bad || done.job["succeeded"].as_u64() != Some(good) || done.people != good)
            .then(|| format!("{} bad rows were to be told, {} were; {} people; {}", bad.len(), done.bad.len(), done.people, done.job))
    };
    let mut rows = vec![
        Row::new(site, WORK, "rows", Unit::PerSecond, site.profiles as f64 / undisturbed.seconds)
            .target(Target::AtLeast(10_000.0))
            .note(format!(
                "{:.0} MB in {:.1} s, {} rows refused by line",
                file.len() as f64 / 1e6,
                undisturbed.seconds,
                undisturbed.bad.len()
            ))
            .trouble(wrong(&undisturbed)),
    ];
    if let Some((first, most)) = undisturbed.memory {
        rows.push(
            Row::new(site, WORK, "growth of the server's memory", Unit::Megabytes, (most as f64 - first as f64).max(0.0) / 1e6)
                .target(Target::AtMost(FLAT))
                .note(format!("from {:.0} MB after the first hundredth; the read model of those who came is in it", first as f64 / 1e6)),
        );
    }
    let differs = (undisturbed.digest != disturbed.digest).then(|| "the directory is another than after the undisturbed import".to_owned());
    rows.push(
        Row::new(site, KILLED, "rows", Unit::PerSecond, site.profiles as f64 / disturbed.seconds)
            .note("until it is done, starts of the server and expired leases included; the directory is compared person by person")
            .trouble(wrong(&disturbed).or(differs)),
    );
    Ok(rows)
}
