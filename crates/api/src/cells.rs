//! Cells of CSV, written by the export and read by the import: what one does the other takes back, exactly.

/// What a spreadsheet takes for the beginning of a formula (OWASP CSV injection).
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

fn could_run(cell: &str) -> bool {
    // Also behind apostrophes, so that taking one off gives back what was there.
    cell.trim_start_matches('\'').starts_with(FORMULA)
}

/// A spreadsheet must not run what a stranger typed: what could be a formula is preceded by `'`.
pub fn harmless(cell: String) -> String {
    if could_run(&cell) { format!("'{cell}") } else { cell }
}

/// Takes off the `'` that [`harmless`] put on, and no other.
pub fn restored(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if could_run(rest) => rest,
        _ => cell,
    }
}

/// Items of a list in one cell: separated by `;`, where `\` takes the meaning off a `;` or `\` in an item, and off what
/// [`split`] would take for another program's list.
pub fn join<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(';');
        }
        for (at, c) in item.char_indices() {
            if matches!(c, ';' | '\\') || (matches!(c, '"' | '*') && at == 0) || item[at..].starts_with(":::") {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

/// Takes a cell apart that [`join`] put together. Other programs' lists too: `a ::: b` (Google Contacts) and `"a","b"`
/// (Mailchimp). Blank items are left out.
pub fn split(cell: &str) -> Vec<String> {
    let blank = |item: &String| !item.trim().is_empty();
    if cell.contains(" ::: ") {
        return cell.split(" ::: ").map(|item| item.trim().to_owned()).filter(blank).collect();
    }
    if cell.starts_with('"') {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(cell.as_bytes());
        let mut record = csv::StringRecord::new();
        if reader.read_record(&mut record).unwrap_or(false) {
            return record.iter().map(|item| item.trim().to_owned()).filter(blank).collect();
        }
    }
    let mut items = vec![String::new()];
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        match c {
            ';' => items.push(String::new()),
            '\\' => {
                if let (Some(escaped), Some(item)) = (chars.next(), items.last_mut()) {
                    item.push(escaped);
                }
            }
            c => {
                if let Some(item) = items.last_mut() {
                    item.push(c);
                }
            }
        }
    }
    items.into_iter().filter(blank).collect()
}

#[cfg(test)]
mod tests {
    use super::{harmless, join, restored, split};

    #[test]
    fn a_cell_comes_back_as_it_was() {
        for text in ["", "plain", "=1+1", "'=1+1", "''=1", "'quoted'", "+44 20", "-5", "@x", "\tx", "it's", "'", "''"] {
            let out = harmless(text.to_owned());
            assert!(!out.starts_with(['=', '+', '-', '@', '\t', '\r']), "{out:?}");
            assert_eq!(restored(&out), text);
        }
        // Typed by a person, not put there by an export: left alone.
        assert_eq!(restored("'tis"), "'tis");
    }

    #[test]
    fn a_list_comes_back_as_it_was() {
        for items in [
            vec!["vip"],
            vec!["a", "b"],
            vec!["semi;colon", "back\\slash", "both;\\"],
            vec!["\\;"],
            vec!["\"quoted\",\"x\""],
            vec!["a ::: b", "c:::::d"],
            vec!["* starred", "*"],
        ] {
            assert_eq!(split(&join(items.iter().copied())), items);
        }
        assert_eq!(split(""), [""; 0]);
        // Not to be taken for a group of Google's own.
        assert_eq!(join(["* starred"]), "\\* starred");
        assert_eq!(split("* myContacts ::: friends"), ["* myContacts", "friends"]);
        assert_eq!(split("\"vip\",\"paid, yearly\""), ["vip", "paid, yearly"]);
    }
}
