//! What people can be found by, in one stretch of memory, and which trigrams each text has.
//!
//! A text is `name\0email\0phone\0external_id\0other lines`, folded. Each trigram of bytes is hashed to one of
//! [`SLICES`] bit rows; a slot's bit is set in the rows of its trigrams. The rows of a needle's trigrams, intersected,
//! hold everyone who has the needle and some who have not (a bit-sliced signature file; Goodwin et al., "BitFunnel",
//! SIGIR 2017), so that only those few are looked at.

use people_domain::{
    profile::Profile,
    property::{Definitions, Standard},
    search::{self, Query},
    text::fold,
};

use super::bits::Bits;

/// Bit rows: at about 70 different trigrams a person, a quarter of the bits of a row are set.
const SLICES: usize = 256;
const CHUNK: usize = 1 << 20;
/// Stands between the fields; no stored text and no query holds it.
const END: u8 = 0;

/// The fields that have a place of their own in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Name,
    Email,
    Phone,
    ExternalId,
}

#[derive(Debug, Default)]
pub(super) struct Texts {
    chunks: Vec<Vec<u8>>,
    /// Chunk and offset of each slot's text; `NOWHERE` for none.
    starts: Vec<u32>,
    signatures: Vec<Block>,
    /// Bytes nobody refers to any more.
    garbage: usize,
    used: usize,
}

const NOWHERE: u32 = u32::MAX;

/// Words of a full block: 65,536 slots.
const BLOCK: usize = 1 << 10;

/// The bit rows of a stretch of slots, one after the other in one piece of memory: rows that grew one by one would leave
/// holes of every size behind.
#[derive(Debug, Default)]
struct Block {
    /// Words of each row; doubles until the block is full.
    width: usize,
    rows: Vec<u64>,
}

impl Block {
    fn widen(&mut self, width: usize) {
        let mut rows = vec![0; SLICES * width];
        for (old, new) in self.rows.chunks(self.width.max(1)).zip(rows.chunks_mut(width)) {
            new[..old.len()].copy_from_slice(old);
        }
        *self = Self { width, rows };
    }

    fn row(&self, row: usize) -> &[u64] {
        &self.rows[row * self.width..(row + 1) * self.width]
    }
}

/// The text of a person. Lines that are part of an earlier one add nothing that could be found.
pub(super) fn compose(profile: &Profile, definitions: &Definitions) -> Vec<u8> {
    let mut out = String::new();
    for field in [profile.standard(Standard::Name), profile.email.as_deref(), profile.phone.as_deref(), profile.external_id.as_deref()] {
        if let Some(text) = field {
            out.push_str(&fold(text));
        }
        out.push('\0');
    }
    for line in search::text_of(profile, definitions).lines() {
        if !out.contains(line) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.into_bytes()
}

fn trigrams(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    text.windows(3).filter(|three| !three.contains(&END) && !three.contains(&b'\n')).map(|three| {
        let word = u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
        // Multiplicative hashing; the upper bits are the well mixed ones.
        (word.wrapping_mul(0x9E37_79B1) >> 24) as usize % SLICES
    })
}

impl Texts {
    fn locate(&self, slot: u32) -> Option<(usize, usize, usize)> {
        let start = self.starts.get(slot as usize).copied().filter(|start| *start != NOWHERE)? as usize;
        let (chunk, mut at) = (start / CHUNK, start % CHUNK);
        let bytes = self.chunks.get(chunk)?;
        // The length, seven bits a byte, the last one without the top bit.
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = *bytes.get(at)?;
            at += 1;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some((chunk, at, length));
            }
        }
    }

    pub(super) fn get(&self, slot: u32) -> &[u8] {
        self.locate(slot).and_then(|(chunk, at, length)| self.chunks.get(chunk)?.get(at..at + length)).unwrap_or_default()
    }

    /// Replaces a slot's text; `None` leaves nothing of it.
    pub(super) fn set(&mut self, slot: u32, text: Option<&[u8]>) {
        if text.is_some_and(|text| text == self.get(slot) && self.starts.get(slot as usize).is_some_and(|s| *s != NOWHERE)) {
            return;
        }
        if let Some((chunk, at, length)) = self.locate(slot) {
            if let Some(old) = self.chunks.get_mut(chunk).and_then(|bytes| bytes.get_mut(at..at + length)) {
                old.fill(0);
            }
            self.garbage += length + 2;
            self.starts[slot as usize] = NOWHERE;
        }
        let Some(text) = text else { return };
        if slot as usize >= self.starts.len() {
            self.starts.resize(slot as usize + 1, NOWHERE);
        }
        let mut head = Vec::with_capacity(5);
        let mut rest = text.len();
        loop {
            let low = u8::try_from(rest & 0x7F).unwrap_or(0);
            rest >>= 7;
            head.push(if rest == 0 { low } else { low | 0x80 });
            if rest == 0 {
                break;
            }
        }
        let need = head.len() + text.len();
        if self.chunks.last().is_none_or(|chunk| chunk.len() + need > CHUNK) {
            // A text larger than a chunk has one of its own.
            self.chunks.push(Vec::with_capacity(if self.chunks.is_empty() { 0 } else { CHUNK.max(need) }));
        }
        let number = self.chunks.len() - 1;
        if let Some(chunk) = self.chunks.last_mut() {
            let start = number * CHUNK + chunk.len();
            self.starts[slot as usize] = u32::try_from(start).unwrap_or(NOWHERE);
            chunk.extend_from_slice(&head);
            chunk.extend_from_slice(text);
            self.used += need;
        }
        let (number, word, mask) = (slot as usize / 64 / BLOCK, slot as usize / 64 % BLOCK, 1_u64 << (slot % 64));
        if number >= self.signatures.len() {
            self.signatures.resize_with(number + 1, Block::default);
        }
        let block = &mut self.signatures[number];
        if word >= block.width {
            block.widen(if number == 0 { (word + 1).next_power_of_two() } else { BLOCK });
        }
        for row in trigrams(text) {
            block.rows[row * block.width + word] |= mask;
        }
        if self.garbage > 4 * CHUNK && self.garbage > self.used / 3 {
            self.compact();
        }
    }

    /// Writes everything anew, without the garbage and without trigrams that are gone.
    fn compact(&mut self) {
        let mut fresh = Self::default();
        for slot in 0..u32::try_from(self.starts.len()).unwrap_or(u32::MAX) {
            if self.starts[slot as usize] != NOWHERE {
                fresh.set(slot, Some(self.get(slot)));
            }
        }
        *self = fresh;
    }

    /// Everyone who may match the words, and perhaps some who do not; `None` when the words say too little.
    pub(super) fn candidates(&self, query: &Query, slots: usize) -> Option<Bits> {
        let mut out: Option<Bits> = None;
        for word in &query.words {
            if word.needles.iter().any(|needle| needle.len() < 3) {
                continue;
            }
            let mut any = Bits::none(slots);
            for needle in &word.needles {
                any.or(&self.with_trigrams(needle.as_bytes(), slots));
            }
            match &mut out {
                Some(out) => out.and(&any),
                None => out = Some(any),
            }
        }
        out
    }

    fn with_trigrams(&self, needle: &[u8], slots: usize) -> Bits {
        let mut rows: Vec<usize> = trigrams(needle).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut out = Bits::all(slots);
        for (number, words) in out.0.chunks_mut(BLOCK).enumerate() {
            // Words no text has reached.
            let known = self.signatures.get(number).map_or(0, |block| block.width).min(words.len());
            words[known..].fill(0);
            let Some(block) = self.signatures.get(number) else { continue };
            for row in &rows {
                for (word, bits) in words.iter_mut().zip(block.row(*row)) {
                    *word &= bits;
                }
            }
        }
        out
    }

    /// The folded value of a field that has its own place.
    fn field(&self, slot: u32, place: Place) -> &[u8] {
        self.get(slot).split(|byte| *byte == END).nth(place as usize).unwrap_or_default()
    }

    pub(super) fn name(&self, slot: u32) -> &[u8] {
        self.field(slot, Place::Name)
    }

    /// Everyone in `among` whose field satisfies a test of a folded needle.
    pub(super) fn with_part(&self, place: Place, part: Part<'_>, among: &Bits, slots: usize) -> Bits {
        let needle = part.needle();
        let mut bits = if needle.len() >= 3 { self.with_trigrams(needle, slots) } else { Bits::all(slots) };
        bits.and(among);
        let finder = memchr::memmem::Finder::new(needle);
        let mut out = Bits::none(slots);
        for slot in bits.iter() {
            let field = self.field(slot, place);
            let holds = match part {
                Part::Anywhere(_) => finder.find(field).is_some(),
                Part::Start(_) => field.starts_with(needle),
                Part::End(_) => field.ends_with(needle),
            };
            if holds {
                out.set(slot, true);
            }
        }
        out
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum::<usize>()
            + self.starts.capacity() * 4
            + self.signatures.iter().map(|block| block.rows.capacity() * 8).sum::<usize>()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Anywhere(&'a str),
    Start(&'a str),
    End(&'a str),
}

impl<'a> Part<'a> {
    fn needle(self) -> &'a [u8] {
        let (Self::Anywhere(needle) | Self::Start(needle) | Self::End(needle)) = self;
        needle.as_bytes()
    }
}

/// The words of a query, ready to be looked for in many texts.
pub(super) struct Needles<'q>(Vec<Vec<memchr::memmem::Finder<'q>>>);

impl<'q> Needles<'q> {
    pub(super) fn of(query: &'q Query) -> Self {
        let finders = |needles: &'q [String]| needles.iter().map(|n| memchr::memmem::Finder::new(n.as_bytes())).collect();
        let mut words: Vec<Vec<_>> = query.words.iter().map(|word| finders(&word.needles)).collect();
        // The longest word is the rarest: it says no first.
        words.sort_by_key(|ways: &Vec<memchr::memmem::Finder<'_>>| std::cmp::Reverse(ways.iter().map(|f| f.needle().len()).min()));
        Self(words)
    }

    pub(super) fn all_in(&self, text: &[u8]) -> bool {
        self.0.iter().all(|ways| ways.iter().any(|finder| finder.find(text).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use people_domain::search::Query;
    use proptest::prelude::{prop, proptest};

    use super::{Needles, Texts};
    use crate::read_model::bits::Bits;

    proptest! {
        /// Whatever was written, overwritten and removed: the rows of trigrams never lose anyone, and texts read back.
        #[test]
        fn texts_read_back_and_are_found_by_any_part(
            steps in prop::collection::vec((0_u32..70, prop::option::of("[ab☃]{0,6}\0[a-c1 ]{0,5}\0\0\0([bc]{1,4}\n){0,3}")), 1..120),
            needle in "[abc☃]{1,4}",
        ) {
            let mut texts = Texts::default();
            let mut truth = vec![None; 70];
            for (slot, text) in steps {
                texts.set(slot, text.as_ref().map(|t| t.as_bytes()));
                truth[slot as usize] = text;
            }
            let query = Query::parse(&needle).expect("a query");
            let needles = Needles::of(&query);
            let candidates = texts.candidates(&query, 70).unwrap_or_else(|| Bits::all(70));
            for slot in 0..70_u32 {
                let text = truth[slot as usize].clone().unwrap_or_default();
                assert_eq!(texts.get(slot), text.as_bytes());
                let found = candidates.has(slot) && needles.all_in(texts.get(slot));
                assert_eq!(found, query.matches(&text), "{needle:?} in {text:?}");
            }
            texts.compact();
            assert!((0..70_u32).all(|slot| texts.get(slot) == truth[slot as usize].clone().unwrap_or_default().as_bytes()));
        }
    }
}
