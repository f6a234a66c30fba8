//! The limit of a search: the texts of everyone in one stretch of this program's memory, newest first, scanned until a
//! page is full. No index, no HTTP, no documents: what is left when everything but reading the letters is taken away.

use std::time::{Duration, Instant};

use deunicode::deunicode_char;
use futures_util::TryStreamExt as _;
use memchr::memmem::Finder;
use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};
use uuid::Uuid;

use crate::{
    Result,
    database::{Database, Engine},
};

/// Rows of a page.
const PAGE: usize = 25;

/// Everyone's text as the server stores it, most recently seen first.
pub struct RawSearch {
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl std::fmt::Debug for RawSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawSearch({} texts)", self.ends.len())
    }
}

impl RawSearch {
    pub async fn read(database: &Database, workspace: Uuid) -> Result<Self> {
        const ALL: &str = "SELECT p.search_text FROM profile_documents AS d JOIN profiles AS p ON p.workspace_id = d.workspace_id AND p.id = d.profile_id WHERE d.workspace_id = $1 ORDER BY d.last_seen_at DESC, d.profile_id DESC";
        let mut raw = Self { texts: Vec::new(), ends: Vec::new() };
        let mut take = |text: String| {
            raw.texts.extend_from_slice(text.as_bytes());
            raw.ends.push(raw.texts.len());
        };
        match database.engine {
            Engine::Sqlite => {
                let mut connection = database.sqlite().await?;
                let mut rows = sqlx::query_scalar::<_, String>(ALL).bind(workspace).fetch(&mut connection);
                while let Some(text) = rows.try_next().await? {
                    take(text);
                }
            }
            Engine::Postgres => {
                let mut connection = database.postgres().await?;
                let mut rows = sqlx::query_scalar::<_, String>(ALL).bind(workspace).fetch(&mut connection);
                while let Some(text) = rows.try_next().await? {
                    take(text);
                }
            }
        }
        Ok(raw)
    }

    /// How long the first page takes for a text as a person types it.
    pub fn search(&self, typed: &str) -> Duration {
        let folded = fold(typed);
        let begun = Instant::now();
        let mut words: Vec<Finder<'_>> = folded.split_whitespace().map(|word| Finder::new(word.as_bytes())).collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.needle().len()));
        let mut found = 0;
        if let Some((rarest, others)) = words.split_first() {
            let mut at = 0;
            // The next place of the rarest word, whoever it belongs to.
            while let Some(hit) = rarest.find(&self.texts[at..]) {
                let who = self.ends.partition_point(|end| *end <= at + hit);
                let from = if who == 0 { 0 } else { self.ends[who - 1] };
                let text = &self.texts[from..self.ends[who]];
                found += usize::from(others.iter().all(|word| word.find(text).is_some()));
                at = self.ends[who];
                if found == PAGE {
                    break;
                }
            }
        }
        std::hint::black_box(found);
        begun.elapsed()
    }
}

/// Folds as the server does: NFKD, marks dropped, lower case, Latin letters spelled in ASCII.
fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let lower = text.nfkd().filter(|c| canonical_combining_class(*c) == 0).flat_map(char::to_lowercase);
    for c in lower.nfkd().filter(|c| canonical_combining_class(*c) == 0) {
        match deunicode_char(c).filter(|_| matches!(c, '\u{C0}'..='\u{24F}') && c.is_alphabetic()) {
            Some(ascii) => out.push_str(&ascii.to_lowercase()),
            None => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn needles_are_folded() {
        assert_eq!(fold("Łukasz Ærø ÉLODIE"), "lukasz aero elodie");
    }
}
