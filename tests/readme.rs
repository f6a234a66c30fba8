//! The README's own commands, run as they are printed. A block after `<!-- tested -->` runs in order with the ones
//! before it, and what a comment promises (`# → 412`) must come out of its block.

use std::process::Stdio;

use people_tests::{App, people, project, stories};

stories![the_commands_of_the_readme_do_what_they_say];

struct Block {
    line: usize,
    script: String,
    promises: Vec<String>,
}

/// The fenced `sh` blocks that are marked as tested.
fn blocks(text: &str) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut marked = false;
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match (inside, line.trim()) {
            (true, "```") => inside = false,
            (true, _) => {
                let block = out.last_mut().expect("a block was opened");
                block.script += line;
                block.script.push('\n');
                block.promises.extend(line.split_once("# →").map(|(_, promise)| promise.trim().to_owned()));
            }
            (false, "<!-- tested -->") => marked = true,
            (false, "```sh") if marked => {
                inside = true;
                marked = false;
                out.push(Block { line: number + 1, script: String::new(), promises: Vec::new() });
            }
            (false, "") => {}
            (false, _) => marked = false,
        }
    }
    out
}

#[test]
fn blocks_are_found_with_what_they_promise() {
    let text = "x\n<!-- tested -->\n```sh\ncurl a   # → 201\ncurl b\n# → \"ada\"\n```\n```sh\nnot tested\n```\n<!-- tested -->\n\n```sh\ncurl c\n```\n";
    let found = blocks(text);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].line, found[0].promises.as_slice()), (3, &["201".to_owned(), "\"ada\"".to_owned()][..]));
    assert_eq!(found[1].script, "curl c\n");
}

async fn the_commands_of_the_readme_do_what_they_say(app: &App) {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("the project has a README");
    let blocks = blocks(&readme);
    assert!(blocks.len() >= 3, "only {} blocks of the README are marked as tested", blocks.len());
    assert!(blocks.iter().map(|b| b.promises.len()).sum::<usize>() >= 6, "the README promises too little");
    let marker = "----- block";
    // One shell for all: a later block uses what an earlier one remembered.
    let script: String = blocks.iter().map(|b| format!("echo '{marker} {}'\n{}\necho\n", b.line, b.script)).collect();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let programs = people().parent().map(|p| p.display().to_string()).unwrap_or_default();
    let output = tokio::process::Command::new("bash")
        .args(["-e", "-u", "-o", "pipefail", "-c", &script])
        .current_dir(directory.path())
        .env("PEOPLE_URL", &app.url)
        .env("PEOPLE_KEY", &app.key)
        .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()))
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "the README's commands fail ({})\n{said}\n{errors}", output.status);
    for block in &blocks {
        let start = format!("{marker} {}\n", block.line);
        let whole = said.split_once(&start).map(|(_, rest)| rest.split(marker).next().unwrap_or_default()).unwrap_or_default();
        let mut rest = whole;
        for promise in &block.promises {
            let Some(place) = rest.find(promise.as_str()) else {
                panic!("README.md:{}: promised `{promise}`, got\n{whole}\n{errors}", block.line)
            };
            rest = &rest[place + promise.len()..];
        }
    }
}
