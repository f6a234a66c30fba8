//! Keeping a file while it streams in: decoded to UTF-8, cut into pieces of one size, its rows counted on the way. Memory
//! holds one piece, whatever the size of the file.

use encoding_rs::{Decoder, Encoding, UTF_8};
use people_domain::id::{RecordId, WorkspaceId};
use people_store::{Store, StoreError};

use super::rows::Letters;

/// Bytes of a piece; the last one may be shorter.
pub const PIECE: usize = 256 * 1024;
/// Bytes from which the columns are told: a thousand names of the longest kind, and rows besides.
pub const HEAD: usize = 128 * 1024;

/// Counts rows: what ends outside of quotes and is not empty.
#[derive(Debug, Default)]
struct Counter {
    quotes: bool,
    quoted: bool,
    content: bool,
    rows: i64,
}

impl Counter {
    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'"' if self.quotes => {
                    self.quoted = !self.quoted;
                    self.content = true;
                }
                b'\n' | b'\r' if !self.quoted => {
                    self.rows += i64::from(self.content);
                    self.content = false;
                }
                b' ' if !self.quotes => {}
                _ => self.content = true,
            }
        }
    }
}

pub struct Spool {
    store: Store,
    workspace: WorkspaceId,
    job: RecordId,
    /// Told by the caller, or by the file's own mark.
    encoding: Option<&'static Encoding>,
    decoder: Option<Decoder>,
    /// Before the encoding is known: the first bytes.
    first: Vec<u8>,
    started: bool,
    buffer: Vec<u8>,
    piece: i64,
    head: Vec<u8>,
    counter: Counter,
    scales: Scales,
}

/// Tells whether bytes that nobody has named an encoding for are UTF-8. Text in another encoding is hardly ever UTF-8 by
/// chance, and UTF-8 with letters beyond ASCII is nothing else.
#[derive(Debug, Default)]
struct Scales {
    /// The beginning of a letter whose end has not come yet.
    open: Vec<u8>,
    letters: u64,
    faults: u64,
}

impl Scales {
    fn weigh(&mut self, bytes: &[u8]) {
        if self.open.is_empty() && bytes.is_ascii() {
            return;
        }
        let mut all = std::mem::take(&mut self.open);
        all.extend_from_slice(bytes);
        let mut rest = all.as_slice();
        loop {
            let beyond_ascii = |text: &[u8]| text.iter().filter(|byte| **byte >= 0xC0).count() as u64;
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.letters += beyond_ascii(text.as_bytes());
                    return;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.letters += beyond_ascii(good);
                    match error.error_len() {
                        Some(length) => {
                            self.faults += 1;
                            rest = &bad[length..];
                        }
                        None => {
                            self.open = bad.to_vec();
                            return;
                        }
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({})", self.job)
    }
}

impl Spool {
    /// With `quotes`, a line break inside of them is part of a row.
    pub fn new(store: Store, workspace: WorkspaceId, job: RecordId, encoding: Option<&'static Encoding>, quotes: bool) -> Self {
        Self {
            store,
            workspace,
            job,
            encoding,
            decoder: None,
            first: Vec::new(),
            started: false,
            buffer: Vec::with_capacity(PIECE),
            piece: 0,
            head: Vec::new(),
            counter: Counter { quotes, ..Counter::default() },
            scales: Scales::default(),
        }
    }

    /// The beginning of the file, in UTF-8 when it says what it is.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    pub fn encoding(&self) -> &'static str {
        self.encoding.map_or(self.letters().name(), Encoding::name)
    }

    /// What the bytes that are kept stand for, as far as they have come: Latin-1 where nobody named an encoding, something is
    /// no UTF-8, and nothing is UTF-8 beyond ASCII.
    pub fn letters(&self) -> Letters {
        let told = self.encoding.is_some() || self.scales.faults == 0 || self.scales.letters > 0;
        if told { Letters::Utf8 } else { Letters::Latin1 }
    }

    /// Rows so far, the header among them.
    pub fn rows(&self) -> i64 {
        self.counter.rows
    }

    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.started {
            return self.decode(bytes, false).await;
        }
        // A byte order mark has up to three bytes.
        self.first.extend_from_slice(bytes);
        if self.first.len() >= 3 { self.start().await } else { Ok(()) }
    }

    async fn start(&mut self) -> Result<(), StoreError> {
        self.started = true;
        let first = std::mem::take(&mut self.first);
        let mut rest = first.as_slice();
        if let Some((encoding, mark)) = Encoding::for_bom(&first) {
            // What a file says of itself is true.
            self.encoding = Some(encoding);
            rest = &first[mark..];
        }
        // Bytes that claim to be UTF-8 are kept as they are: a row that is not is told, and spoils no other.
        self.decoder = self.encoding.filter(|encoding| *encoding != UTF_8).map(Encoding::new_decoder_without_bom_handling);
        let rest = rest.to_vec();
        self.decode(&rest, false).await
    }

    async fn decode(&mut self, bytes: &[u8], last: bool) -> Result<(), StoreError> {
        let Some(decoder) = &mut self.decoder else {
            self.scales.weigh(bytes);
            if last {
                // The beginning of a letter that never ended.
                self.scales.faults += u64::from(!std::mem::take(&mut self.scales.open).is_empty());
            }
            return self.keep(bytes).await;
        };
        let room = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len() * 3 + 16);
        let mut text = String::with_capacity(room);
        // There is room for all of it; what is no character becomes U+FFFD.
        let _ = decoder.decode_to_string(bytes, &mut text, last);
        self.keep(text.as_bytes()).await
    }

    async fn keep(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.counter.count(bytes);
        if self.head.len() < HEAD {
            self.head.extend_from_slice(&bytes[..bytes.len().min(HEAD - self.head.len())]);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PIECE - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let content = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.store.keep_input(self.workspace, self.job, self.piece, content).await?;
        self.piece += 1;
        Ok(())
    }

    /// Everything has come in: the length of what is kept.
    pub async fn finish(&mut self) -> Result<usize, StoreError> {
        if !self.started {
            self.start().await?;
        }
        self.decode(&[], true).await?;
        self.counter.count(b"\n");
        if self.counter.quoted && self.counter.content {
            self.counter.rows += 1;
        }
        let length = usize::try_from(self.piece).unwrap_or(0) * PIECE + self.buffer.len();
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        Ok(length)
    }
}
