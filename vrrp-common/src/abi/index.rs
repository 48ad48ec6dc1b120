//! Where the `SHELVES` map says which of the `ROUTERS` an advert is for.
//!
//! A hash table in an array: the kernel program looks into one without a call, where a lookup in the kernel's
//! hash map is a fifth of what an advert costs by test-run, and more where its entries are out of the caches.
//! A shelf is a cache line, and has the rows of sixteen VRIDs next to each other on one interface, which speak
//! one after the other. Where many interfaces have one VRID each, each has a shelf.
//!
//! One process writes, word by word, while the kernel program reads: [`find`] says what is safe.

use super::RouterKey;

/// Value of the `SHELVES` map: the [`tag`] of its keys, or zero; then rows, four to a word.
pub type Shelf = [u64; 8];

/// For each slot this many rows of `ROUTERS`: one that is in use, and one to make the next in.
pub const ROWS_PER_SLOT: u32 = 2;

/// Shelves for each slot. With so many a key is found at once or next to where it belongs, even where each has
/// a shelf of its own.
pub const SHELVES_PER_SLOT: u32 = 4;

/// A key is not further away from where it belongs than this.
pub const REACH: u32 = 16;

/// How many VRIDs have their rows on one shelf.
pub const VRIDS_PER_SHELF: u8 = 16;
const ROWS_PER_WORD: u8 = 4;
const ROW_BITS: u32 = 16;

/// The shelves, as [`find`] reads them.
pub trait Shelves {
    /// A shelf at hand.
    type Shelf: Copy;

    /// How many shelves there are, less one; they are a power of two.
    fn mask(&self) -> u32;

    /// The shelf with this number.
    fn shelf(&self, number: u32) -> Option<Self::Shelf>;

    /// A word of a shelf, read whole; after the one in which `before` was read.
    fn word(&self, shelf: Self::Shelf, word: usize, before: u64) -> u64;
}

/// The row of `ROUTERS` to which a key leads.
///
/// Whoever changes a shelf at the same time writes words whole: a tag only where no row is left, and before
/// the rows that belong to it. Read before and after the row, it is the row's.
#[inline(always)]
pub fn find<S: Shelves>(shelves: &S, key: &RouterKey) -> Option<u32> {
    let wanted = tag(key);
    let (word, shift) = place(key.vrid);
    let home = home(wanted);
    let mut away = 0;
    while away < REACH {
        let shelf = shelves.shelf(home.wrapping_add(away) & shelves.mask())?;
        let tag = shelves.word(shelf, 0, 0);
        if tag == wanted {
            let row = shelves.word(shelf, word, tag);
            let same = shelves.word(shelf, 0, row) == wanted;
            return row_in(row, shift).filter(|_| same);
        }
        if tag == 0 {
            return None;
        }
        away += 1;
    }
    None
}

/// What the keys of a shelf have in common; never zero.
#[inline(always)]
pub const fn tag(key: &RouterKey) -> u64 {
    (key.ifindex as u64) << 32 | (key.family as u64) << 8 | (key.vrid / VRIDS_PER_SHELF) as u64
}

/// The key with this tag in this place of the shelf.
pub const fn key(tag: u64, place: u8) -> RouterKey {
    RouterKey {
        ifindex: (tag >> 32) as u32,
        family: (tag >> 8) as u8,
        vrid: (tag as u8) * VRIDS_PER_SHELF + place % VRIDS_PER_SHELF,
        reserved: [0; 2],
    }
}

/// The number, before the mask, of the shelf where keys with this tag belong.
#[inline(always)]
pub const fn home(tag: u64) -> u32 {
    // Fibonacci hashing: the upper bits of the product depend on all of the tag.
    (tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as u32
}

/// Where the row of a VRID stands: the word of its shelf, and how far left in it.
#[inline(always)]
pub const fn place(vrid: u8) -> (usize, u32) {
    let at = vrid % VRIDS_PER_SHELF;
    (1 + (at / ROWS_PER_WORD) as usize, (at % ROWS_PER_WORD) as u32 * ROW_BITS)
}

/// The row that stands there in a word.
#[inline(always)]
pub const fn row_in(word: u64, shift: u32) -> Option<u32> {
    match (word >> shift) as u16 {
        0 => None,
        row => Some(row as u32 - 1),
    }
}

/// The word with another row there.
pub const fn with_row(word: u64, shift: u32, row: Option<u32>) -> u64 {
    let bits = match row {
        Some(row) => row as u16 + 1,
        None => 0,
    };
    word & !((u16::MAX as u64) << shift) | (bits as u64) << shift
}

/// How many words of a shelf have rows, behind the tag.
pub const ROW_WORDS: usize = (VRIDS_PER_SHELF / ROWS_PER_WORD) as usize;

const _: () = {
    assert!(ROW_WORDS < size_of::<Shelf>() / 8);
    // A row and one more stand in 16 bits.
    assert!(super::MAX_SLOTS * ROWS_PER_SLOT < u16::MAX as u32);
};
