//! Giving memory back.
#![expect(unsafe_code, reason = "madvise takes addresses")]

use std::io::{self, BufRead, BufReader};
use std::ops::Range;

/// Takes what only the start of this process needed out of its memory: pages of its program and libraries
/// that nobody has written to. Those that are needed again come back from the file, mostly from the
/// kernel's cache of it.
///
/// # Errors
/// Without `/proc` nothing is known of the mappings, and nothing is done.
pub(crate) fn forget_start() -> io::Result<()> {
    forget(0..usize::MAX)
}

/// The same, but for the program's own code: that stays, so that what is done seldom need not be read from
/// a disk first. The code of libraries is in use all over the host. Has no effect on memory that is locked.
///
/// # Errors
/// As [`forget_start`].
pub(crate) fn forget_libraries() -> io::Result<()> {
    let here = forget_libraries as fn() -> io::Result<()> as usize;
    let maps = clean_mappings()?;
    let code = maps.iter().find(|(from, to)| (*from..*to).contains(&here)).copied();
    // Where it was not found, nothing is certain.
    let Some((from, to)) = code else { return Ok(()) };
    for range in [0..from, to..usize::MAX] {
        forget_in(&maps, range);
    }
    Ok(())
}

/// The same for a constant: the whole pages of it that are the program's file's. Has no effect on memory
/// that is locked.
///
/// # Errors
/// As [`forget_start`].
pub(crate) fn forget_constant(constant: &[u8]) -> io::Result<()> {
    // A page is this or a multiple of it. Where it is more, the kernel takes no range that begins within
    // one, and the constant stays.
    const PAGE: usize = 4096;
    let from = constant.as_ptr().addr();
    forget(from.next_multiple_of(PAGE)..(from + constant.len()) & !(PAGE - 1))
}

/// Takes the pages of a range out of memory that can be read again.
fn forget(range: Range<usize>) -> io::Result<()> {
    forget_in(&clean_mappings()?, range);
    Ok(())
}

fn clean_mappings() -> io::Result<Vec<(usize, usize)>> {
    let maps = std::fs::File::open("/proc/self/smaps")?;
    Ok(clean_files(BufReader::new(maps).lines().map_while(Result::ok)))
}

fn forget_in(mappings: &[(usize, usize)], range: Range<usize>) {
    for (from, to) in mappings {
        let (from, to) = (*from.max(&range.start), *to.min(&range.end));
        if from < to {
            // SAFETY: part of a private mapping of a file that can't be written to and has no page of its
            // own: the next access reads the same bytes from the file again. Without success nothing has
            // changed.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
}

/// Gives back what was allocated and freed: reading the configuration and loading the kernel program need
/// more for a moment than is needed for good. Has no effect on memory that is locked.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only takes pages out of the heap that nothing is in.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The mappings of files that can't be written to, and that have no page which differs from the file:
/// relocated pages are such.
fn clean_files(lines: impl Iterator<Item = String>) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut current = None;
    for line in lines {
        if let Some(range) = header(&line) {
            current = range;
        } else if let Some(kilobytes) = line.strip_prefix("Anonymous:")
            && let Some(range) = current.take()
            && kilobytes.trim() == "0 kB"
        {
            found.push(range);
        }
    }
    found
}

/// The first line of a mapping: its range where it is one of a file that can only be read or executed.
fn header(line: &str) -> Option<Option<(usize, usize)>> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let range = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    let fixed = matches!(words.next()?, "r--p" | "r-xp");
    let file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    Some((fixed && file).then_some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_again_is_found_and_nothing_else() {
        let smaps = "\
1000-2000 r-xp 00000000 08:01 1 /usr/sbin/xvrrp
Rss: 4 kB
Anonymous:             0 kB
2000-3000 r--p 00001000 08:01 1 /usr/sbin/xvrrp
Anonymous:             4 kB
3000-4000 rw-p 00002000 08:01 1 /usr/sbin/xvrrp
Anonymous:             0 kB
4000-5000 r--s 00000000 08:01 1 /run/xvrrp/ledger
Anonymous:             0 kB
5000-6000 r--p 00000000 08:01 1 /usr/lib/libc.so.6
Anonymous:             0 kB
6000-7000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";
        let found = clean_files(smaps.lines().map(str::to_owned));
        assert_eq!(found, [(0x1000, 0x2000), (0x5000, 0x6000)]);
    }

    #[test]
    fn a_constant_is_the_same_when_it_comes_back() {
        static CONSTANT: [u8; 65_536] = [7; 65_536];
        let whole = |bytes: &[u8]| bytes.iter().all(|byte| std::hint::black_box(*byte) == 7);
        assert!(whole(&CONSTANT));
        forget_constant(&CONSTANT).unwrap();
        assert!(whole(&CONSTANT));
        forget_constant(&CONSTANT[1..9]).unwrap();
    }

    /// What is not of a file would come back as zeros.
    #[test]
    fn what_could_not_be_read_again_stays() {
        let heap = vec![7; 1 << 20];
        forget_constant(&heap).unwrap();
        assert!(heap.iter().all(|byte| std::hint::black_box(*byte) == 7));
    }

    #[test]
    fn the_process_goes_on() {
        forget_start().unwrap();
        forget_libraries().unwrap();
        assert_eq!(format!("{:?}", vec![1.5, 2.5]), "[1.5, 2.5]");
    }
}
