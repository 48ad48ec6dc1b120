//! How often a thread asks for memory: it is watched at the functions of the C library that give some.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read as _;

use anyhow::{Context as _, Result};

use crate::perf::{self, Spot};

/// Where memory comes from.
const SOURCES: [(&str, *const ()); 5] = [
    ("malloc", libc::malloc as *const ()),
    ("calloc", libc::calloc as *const ()),
    ("realloc", libc::realloc as *const ()),
    ("posix_memalign", libc::posix_memalign as *const ()),
    ("aligned_alloc", libc::aligned_alloc as *const ()),
];

/// Counts how often one thread asks for memory.
pub(crate) struct Allocations(Vec<File>);

impl Allocations {
    /// From now on; of a thread of a process that uses the same C library as this one.
    pub(crate) fn of(thread: u32) -> Result<Self> {
        let count = |(name, function): &(&str, *const ())| {
            let place = Place::of(*function);
            let counter = place.and_then(|place| perf::watch(thread, place.spot()));
            counter.with_context(|| format!("{name} can't be watched"))
        };
        SOURCES.iter().map(count).collect::<Result<_>>().map(Self)
    }

    /// How many there were so far.
    fn so_far(&mut self) -> Result<u64> {
        let mut sum = 0;
        for counter in &mut self.0 {
            let mut number = [0; 8];
            counter.read_exact(&mut number)?;
            sum += u64::from_ne_bytes(number);
        }
        Ok(sum)
    }

    /// How many there are while something is done.
    pub(crate) fn during(&mut self, work: impl FnOnce() -> Result<()>) -> Result<u64> {
        let before = self.so_far()?;
        work()?;
        Ok(self.so_far()? - before)
    }
}

/// A function in a file that processes have mapped.
struct Place {
    file: CString,
    offset: u64,
}

impl Place {
    /// Where a function of this process comes from.
    fn of(function: *const ()) -> Result<Self> {
        let address = function as u64;
        let maps = fs::read_to_string("/proc/self/maps")?;
        // proc_pid_maps(5): from and to, permissions, offset, device, inode, file.
        let its = |line: &str| -> Option<Self> {
            let mut fields = line.split_whitespace();
            let (from, to) = fields.next()?.split_once('-')?;
            let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).ok());
            let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
            let file = CString::new(fields.nth(2)?).ok()?;
            let within = (from?..to?).contains(&address);
            within.then(|| Self { file, offset: address - from.unwrap_or_default() + offset })
        };
        maps.lines().find_map(its).context("it is in no file")
    }

    fn spot(&self) -> Spot<'_> {
        Spot::Function(&self.file, self.offset)
    }
}
