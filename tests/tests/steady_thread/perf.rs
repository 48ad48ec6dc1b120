//! What the kernel counts and records of one thread: perf_event_open(2).
#![expect(unsafe_code, reason = "no crate here calls perf_event_open")]

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};

/// `PERF_EVENT_IOC_SET_OUTPUT`.
const SET_OUTPUT: libc::Ioctl = 0x2405;

/// Whose number stands for functions of programs.
pub(crate) const UPROBE: &str = "/sys/bus/event_source/devices/uprobe/type";

/// Where a thread comes by.
#[derive(Clone, Copy)]
pub(crate) enum Spot<'a> {
    /// A function, by its file and where it is in that.
    Function(&'a CStr, u64),
    /// A tracepoint of the kernel, by its number.
    Tracepoint(u16),
}

/// Watches from now on how a thread comes by; the file's eight bytes are how often it did.
pub(crate) fn watch(thread: u32, spot: Spot<'_>) -> Result<File> {
    /// `struct perf_event_attr` as it was when it had two words for what it is about, which the kernel still
    /// takes.
    #[repr(C)]
    struct Attributes {
        kind: u32,
        size: u32,
        config: u64,
        period: u64,
        sample: u64,
        read: u64,
        flags: u64,
        wakeup: u32,
        breakpoint: u32,
        about: [u64; 2],
    }
    /// `PERF_TYPE_TRACEPOINT`.
    const TRACEPOINT: u32 = 2;
    /// `PERF_SAMPLE_RAW`: what the tracepoint says, and nothing else.
    const SAYS: u64 = 1 << 10;
    let (kind, config, period, about) = match spot {
        Spot::Function(file, offset) => {
            (fs::read_to_string(UPROBE)?.trim().parse()?, 0, 0, [file.as_ptr() as u64, offset])
        }
        Spot::Tracepoint(number) => (TRACEPOINT, number.into(), 1, [0; 2]),
    };
    let attributes = Attributes {
        kind,
        size: size_of::<Attributes>() as u32,
        config,
        period,
        sample: SAYS,
        read: 0,
        flags: 0,
        wakeup: 0,
        breakpoint: 0,
        about,
    };
    let [any_cpu, no_group, close_on_exec] = [-1, -1, 8].map(libc::c_long::from);
    // SAFETY: the kernel reads as much of `attributes` as `size` says, and the name that it points to.
    let opened = unsafe {
        let call = libc::SYS_perf_event_open;
        libc::syscall(call, &raw const attributes, thread, any_cpu, no_group, close_on_exec)
    };
    if opened < 0 {
        return Err(io::Error::last_os_error()).context("perf_event_open");
    }
    // SAFETY: the kernel has just given it, to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(opened)?) }.into())
}

/// What tracepoints say that a thread comes by, in that order.
pub(crate) struct Ring {
    words: NonNull<AtomicU64>,
    count: usize,
    /// Where the records begin.
    records: usize,
    /// The first one has the memory.
    _tracepoints: Vec<File>,
}

// SAFETY: the words are atomics, and the mapping stays until this is dropped.
unsafe impl Send for Ring {}

impl Ring {
    /// Where the kernel says how far it has written, and is told how far that was read: `data_head` and
    /// `data_tail` of `struct perf_event_mmap_page`.
    const HEAD: usize = 1024 / 8;
    const TAIL: usize = Self::HEAD + 1;
    /// The bytes of records that wait at most: what a flood makes in half a second.
    const ROOM: usize = 32 << 20;

    /// From now on.
    pub(crate) fn of(thread: u32, tracepoints: &[u16]) -> Result<Self> {
        let watched = tracepoints.iter().map(|number| watch(thread, Spot::Tracepoint(*number)));
        let tracepoints: Vec<File> = watched.collect::<Result<_>>()?;
        let (first, others) = tracepoints.split_first().context("nothing to watch")?;
        // SAFETY: it takes a number and gives one.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })?;
        let bytes = page + Self::ROOM;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            let (may, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            libc::mmap(ptr::null_mut(), bytes, may, shared, first.as_raw_fd(), 0)
        };
        ensure!(at != libc::MAP_FAILED, "no memory for records: {}", io::Error::last_os_error());
        let words = NonNull::new(at.cast()).context("memory at no address")?;
        for other in others {
            // SAFETY: it takes two descriptors.
            let done = unsafe { libc::ioctl(other.as_raw_fd(), SET_OUTPUT, first.as_raw_fd()) };
            ensure!(done == 0, "records apart: {}", io::Error::last_os_error());
        }
        let mut ring =
            Self { words, count: bytes / 8, records: page / 8, _tracepoints: tracepoints };
        // Not before all of them come here.
        ring.take(|_| {})?;
        Ok(ring)
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: a mapping begins at a page, so it is aligned; it has that many words, every value of
        // which is one; it is there as long as `self`; and the kernel writes whole words.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }

    /// Takes the records that there are: what the tracepoint says, which begins with its number.
    ///
    /// # Errors
    /// There was no room for some.
    pub(crate) fn take(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        /// `PERF_RECORD_SAMPLE`.
        const SAMPLE: u32 = 9;
        let (controls, records) = self.words().split_at(self.records);
        let word = |at: u64| {
            let at = at as usize / 8 % records.len();
            records[at].load(Ordering::Relaxed).to_ne_bytes()
        };
        let head = controls[Self::HEAD].load(Ordering::Acquire);
        let mut tail = controls[Self::TAIL].load(Ordering::Relaxed);
        let mut record = Vec::new();
        while tail < head {
            // Its kind, a word about the mode, and how long it is with this.
            let [a, b, c, d, _, _, low, high] = word(tail);
            let (kind, size) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([low, high]));
            ensure!(kind == SAMPLE && size > 8, "a record of kind {kind}: some were lost");
            record.clear();
            (8..u64::from(size)).step_by(8).for_each(|at| record.extend(word(tail + at)));
            // Behind its length, which has the rest of the last word in it.
            each(&record[4..]);
            tail += u64::from(size);
        }
        controls[Self::TAIL].store(tail, Ordering::Release);
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this mapping was made in `of`, and no reference to its words outlives `self`.
        unsafe {
            libc::munmap(self.words.as_ptr().cast(), self.count * 8);
        }
    }
}
