//! Text as people compare it: folded for search, clean for storage.
//!
//! [`fold`] is the only folding there is. The stored search text, the needle of a query and the value of a `contains`
//! all go through it, so what was written is found however it is typed.

use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};

/// Folds text for comparison: compatibility decomposition (UAX #15 NFKD), marks stripped, full case folding
/// (Unicode CaseFolding.txt C+F), and Latin letters that do not decompose spelled in ASCII (ł → l, ø → o, æ → ae).
///
/// Marks go by their combining class: every reorderable mark is dropped, so folding a piece of a text gives a piece of
/// the folded text. Vowel signs of Indic scripts have class 0 and stay.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let decomposed: String = text.nfkd().filter(|c| !is_dropped(*c)).collect();
    let folded = caseless::default_case_fold_str(&decomposed);
    let mut out = String::with_capacity(folded.len());
    // Case folding can bring marks back (İ folds to i + U+0307), so decompose and strip once more.
    for c in folded.nfkd().filter(|c| !is_dropped(*c)) {
        match spelled_in_ascii(c) {
            Some(ascii) => out.extend(ascii.chars().map(|a| a.to_ascii_lowercase())),
            None => out.push(c),
        }
    }
    out
}

fn is_dropped(c: char) -> bool {
    canonical_combining_class(c) != 0 || is_invisible(c)
}

/// Invisible joiners and variation selectors: typed by nobody, pasted by everybody.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{34F}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{AD}')
}

fn spelled_in_ascii(c: char) -> Option<&'static str> {
    let latin = matches!(c, '\u{C0}'..='\u{24F}' | '\u{250}'..='\u{2AF}' | '\u{1E00}'..='\u{1EFF}' | '\u{2C60}'..='\u{2C7F}' | '\u{A720}'..='\u{A7FF}')
        && c.is_alphabetic();
    if latin { deunicode::deunicode_char(c) } else { None }
}

/// The digits of a text, for telephone numbers typed with any punctuation.
pub fn digits(text: &str) -> String {
    if text.is_ascii() {
        return text.chars().filter(char::is_ascii_digit).collect();
    }
    text.nfkd().filter_map(|c| c.to_digit(10)).filter_map(|d| char::from_digit(d, 10)).collect()
}

/// Why a text cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// U+0000: PostgreSQL refuses it and SQLite stops reading at it.
    Nul,
    /// Longer than the limit, in bytes of UTF-8.
    TooLong,
}

/// Trims white space, composes (NFC) and checks a text of one line or many. Blank text becomes `None`.
pub fn clean(text: &str, max_bytes: usize) -> Result<Option<String>, Unfit> {
    if text.contains('\0') {
        return Err(Unfit::Nul);
    }
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    let composed: String = if trimmed.is_ascii() { trimmed.to_owned() } else { trimmed.nfc().collect() };
    if composed.len() > max_bytes {
        return Err(Unfit::TooLong);
    }
    Ok(Some(composed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{digits, fold};

    #[test]
    fn folding_forgets_case_accents_and_the_way_a_letter_was_typed() {
        for (text, folded) in [
            ("José", "jose"),
            ("Jose\u{301}", "jose"),
            ("ŁUKASZ", "lukasz"),
            ("Straße", "strasse"),
            ("Ærøskøbing", "aeroskobing"),
            ("İstanbul", "istanbul"),
            ("Σίσυφος", "σισυφοσ"),
            ("王", "王"),
            ("ＡＢＣ", "abc"),
            ("O'Brien", "o'brien"),
            ("😀", "😀"),
            ("Đặng", "dang"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn digits_of_any_script_are_digits() {
        assert_eq!(digits("+44 (20) 7946-0000"), "442079460000");
        assert_eq!(digits("４４"), "44");
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing_more(text in any::<String>()) {
            let once = fold(&text);
            assert_eq!(fold(&once), once);
        }

        #[test]
        fn every_piece_of_a_text_folds_to_a_piece_of_the_folded_text(text in "\\PC{0,24}", from in 0_usize..24, len in 1_usize..8) {
            let piece: String = text.chars().skip(from).take(len).collect();
            assert!(fold(&text).contains(&fold(&piece)), "{piece:?} of {text:?}");
        }
    }
}
