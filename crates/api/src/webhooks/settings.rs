//! Settings of webhooks, and the key that their secrets are sealed under.

use std::{io::Write as _, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use people_domain::webhook::{address::Reach, retry::Patience};
use secrecy::SecretString;

use crate::config::is_secret;

/// As they are given.
#[derive(Args, Clone, Debug)]
pub struct WebhookArgs {
    /// Secret under which secrets of webhooks are stored, the same on every instance. With SQLite one is made up and kept
    /// beside the database file when none is given; with PostgreSQL there are no webhooks without it
    #[arg(long, env = "PEOPLE_SECRET_KEY", hide_env_values = true)]
    pub secret_key: Option<String>,

    /// Webhook endpoints this process sends to at once (0–256); 0 leaves them to other processes
    #[arg(long, env = "PEOPLE_WEBHOOKS", default_value = "32")]
    pub webhooks: String,

    /// Seconds that an endpoint has to answer (1–30)
    #[arg(long, env = "PEOPLE_WEBHOOK_TIMEOUT", default_value = "15")]
    pub webhook_timeout: String,

    /// Seconds after which an endpoint that fails is disabled (1–2592000); the pauses between attempts follow from it
    #[arg(long, env = "PEOPLE_WEBHOOK_GIVE_UP_AFTER", default_value = "259200")]
    pub webhook_give_up_after: String,

    /// For development: `true` also allows http and private addresses, so that whoever may manage webhooks reaches
    /// everything that this server reaches
    #[arg(long, env = "PEOPLE_WEBHOOKS_ALLOW_PRIVATE", default_value = "false")]
    pub webhooks_allow_private: String,
}

/// Checked.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    pub secret_key: Option<SecretString>,
    /// Endpoints sent to at once.
    pub at_once: usize,
    pub timeout: Duration,
    pub patience: Patience,
    pub reach: Reach,
}

impl WebhookArgs {
    /// Adds what is wrong to the mistakes; what is answered then is not used.
    pub fn check(&self, mistakes: &mut Vec<String>) -> WebhookSettings {
        if self.secret_key.as_ref().is_some_and(|secret| !is_secret(secret)) {
            mistakes.push("PEOPLE_SECRET_KEY: expected 32 to 256 visible ASCII characters".to_owned());
        }
        let mut number = |name: &str, text: &str, least: u64, most: u64| {
            text.parse().ok().filter(|n| (least..=most).contains(n)).unwrap_or_else(|| {
                mistakes.push(format!("{name}: expected a number from {least} to {most}"));
                least
            })
        };
        let at_once = number("PEOPLE_WEBHOOKS", &self.webhooks, 0, 256);
        let timeout = number("PEOPLE_WEBHOOK_TIMEOUT", &self.webhook_timeout, 1, 30);
        let give_up_after = number("PEOPLE_WEBHOOK_GIVE_UP_AFTER", &self.webhook_give_up_after, 1, 30 * 24 * 3_600);
        let reach = match self.webhooks_allow_private.as_str() {
            "false" => Reach::Public,
            "true" => Reach::Anywhere,
            _ => {
                mistakes.push("PEOPLE_WEBHOOKS_ALLOW_PRIVATE: expected true or false".to_owned());
                Reach::Public
            }
        };
        WebhookSettings {
            secret_key: self.secret_key.clone().map(SecretString::from),
            at_once: usize::try_from(at_once).unwrap_or(0),
            timeout: Duration::from_secs(timeout),
            patience: Patience::of(Duration::from_secs(give_up_after)),
            reach,
        }
    }
}

/// The key beside an SQLite file (`people.db.key`), made up when there is none. `None`: it can neither be read nor made.
pub fn key_beside(database_url: &str) -> Option<SecretString> {
    let path = database_url.strip_prefix("sqlite:")?.trim_start_matches("//").split('?').next().unwrap_or_default();
    if path.is_empty() || path.starts_with(':') {
        return None;
    }
    let path = format!("{path}.key");
    let read = || std::fs::read_to_string(&path).ok().map(|text| text.trim().to_owned()).filter(|text| is_secret(text));
    match read() {
        Some(found) => Some(found.into()),
        None => make(Path::new(&path)).or_else(read).map(SecretString::from),
    }
}

/// E: it is there already, or cannot be written.
fn make(path: &Path) -> Option<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).ok()?;
    let key = URL_SAFE_NO_PAD.encode(random);
    // Written whole under another name first: whoever finds the file finds all of it.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).ok()?;
    let mut file = tempfile::Builder::new().prefix(".people-key").tempfile_in(folder).ok()?;
    writeln!(file, "{key}").ok()?;
    file.as_file().sync_all().ok()?;
    file.persist_noclobber(path).ok()?;
    Some(key)
}
