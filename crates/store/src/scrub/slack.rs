//! Bytes of a page that SQLite does not read: the gap between the list of cells and the cells, and what lies inside of
//! free blocks (SQLite's *Database File Format*, section 1.6).
//!
//! `secure_delete` overwrites a cell where it is deleted. It does not overwrite the copies that stay behind when pages
//! are balanced: the cells move, and their old bytes become part of the gap. Zeroing them changes nothing of what a page
//! says.

/// First page number from which a page of any other kind could be taken for one of a table or an index, by its first
/// byte (which is then the highest of a page number).
pub(super) const TOO_MANY_PAGES: i64 = 0x0200_0000;

const LEAF_TABLE: u8 = 0x0d;
const LEAF_INDEX: u8 = 0x0a;
const INNER_TABLE: u8 = 0x05;
const INNER_INDEX: u8 = 0x02;

fn number(page: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])))
}

/// Zeroes what is not in use on a page of a table or an index; answers whether there was anything. Other pages, and pages
/// that do not look right, are left alone.
pub(super) fn clear(page: &mut [u8], pgno: i64, reserved: usize) -> bool {
    clear_checked(page, pgno, reserved).unwrap_or(false)
}

fn clear_checked(page: &mut [u8], pgno: i64, reserved: usize) -> Option<bool> {
    // The first page begins with the header of the file.
    let head = if pgno == 1 { 100 } else { 0 };
    let usable = page.len().checked_sub(reserved)?;
    let header = match *page.get(head)? {
        LEAF_TABLE | LEAF_INDEX => 8,
        INNER_TABLE | INNER_INDEX => 12,
        _ => return None,
    };
    let cells = number(page, head + 3)?;
    // 0 stands for 65,536.
    let content = match number(page, head + 5)? {
        0 => 65_536,
        at => at,
    };
    let gap = head + header + 2 * cells;
    if gap > content || content > usable {
        return None;
    }
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    let mut block = number(page, head + 1)?;
    while block != 0 {
        let (next, size) = (number(page, block)?, number(page, block + 2)?);
        let end = block.checked_add(size)?;
        if size < 4 || block < content || end > usable || (next != 0 && next < end) {
            return None;
        }
        blocks.push((block + 4, end));
        block = next;
    }
    let mut changed = false;
    for (from, to) in std::iter::once((gap, content)).chain(blocks) {
        let unused = page.get_mut(from..to)?;
        if unused.iter().any(|byte| *byte != 0) {
            unused.fill(0);
            changed = true;
        }
    }
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::clear;

    /// A leaf of a table of 64 bytes: one cell at 60, a free block of 8 bytes at 50, and old bytes wherever there is room.
    fn page() -> Vec<u8> {
        let mut page = vec![0xee; 64];
        page[..8].copy_from_slice(&[0x0d, 0, 50, 0, 1, 0, 50, 0]);
        page[8..10].copy_from_slice(&[0, 60]);
        page[50..54].copy_from_slice(&[0, 0, 0, 8]);
        page
    }

    #[test]
    fn only_what_is_not_in_use_is_zeroed() {
        let mut cleaned = page();
        assert!(clear(&mut cleaned, 2, 0));
        let mut expected = page();
        expected[10..50].fill(0);
        expected[54..58].fill(0);
        assert_eq!(cleaned, expected);
        assert!(!clear(&mut cleaned, 2, 0), "a clean page is clean");
    }

    #[test]
    fn a_page_that_does_not_look_right_is_left_alone() {
        for (at, byte) in [(0, 0x00), (0, 0x07), (3, 0xff), (5, 0xff), (2, 3), (53, 60), (53, 1)] {
            let mut broken = page();
            broken[at] = byte;
            let before = broken.clone();
            assert!(!clear(&mut broken, 2, 0), "{at} {byte}");
            assert_eq!(broken, before, "{at} {byte}");
        }
        assert!(!clear(&mut [], 2, 0));
        assert!(!clear(&mut [0x0d; 5], 2, 0));
        assert!(!clear(&mut page(), 1, 0), "the first page has its header elsewhere");
    }
}
