//! A file in memory that two processes write.
#![expect(unsafe_code, reason = "no library maps a file as words that other processes change")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// The beginning of a file, shared with whoever else maps it: what one process stores is there for the
/// others, however the storing process ends.
#[derive(Debug)]
pub(crate) struct Mapped {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the words are atomics, and the mapping stays until the last reference is gone.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps that many words of a file, which must be as long and must not be cut shorter: a word beyond
    /// its end could not be touched.
    ///
    /// # Errors
    /// `EINVAL` where the file is shorter; else the kernel's.
    pub(crate) fn new(file: &File, count: usize) -> io::Result<Self> {
        let bytes = count * size_of::<AtomicU64>();
        if count == 0 || file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(at.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { words, count })
    }

    /// The words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: a mapping begins at a page, so it is aligned; it has that many words, every value of
        // which is one; it is there as long as `self`; and all who change it do so by atomics.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this mapping was made in `new`, and no reference to its words outlives `self`.
        unsafe {
            libc::munmap(self.words.as_ptr().cast(), self.count * size_of::<AtomicU64>());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_is_stored_is_in_the_file() {
        let file = tempfile::tempfile().unwrap();
        assert!(Mapped::new(&file, 512).is_err(), "the file is too short");
        file.set_len(4096).unwrap();
        let one = Mapped::new(&file, 512).unwrap();
        let other = Mapped::new(&file, 512).unwrap();
        one.words()[511].store(7, Ordering::Release);
        assert_eq!(other.words()[511].load(Ordering::Acquire), 7);
        let mut last = [0; 8];
        file.read_exact_at(&mut last, 4088).unwrap();
        assert_eq!(u64::from_ne_bytes(last), 7);
    }
}
