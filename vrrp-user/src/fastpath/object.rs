//! The kernel program's object files, as `build.rs` laid them into this binary.

use object::{Object, ObjectSection};
use vrrp_common::abi;

use super::LoadError;

/// The object; empty where it was not built.
pub(super) const EMBEDDED: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xvrrp.o"));

/// The object for kernels that give it no frames of several buffers; empty where it was not built.
pub(super) const WITHOUT_FRAGS: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xvrrp-linear.o"));

/// The object for kernels that have no timers for it either; empty where it was not built.
pub(super) const WITHOUT_TIMERS: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xvrrp-plain.o"));

/// Where the object says which version of the maps it was built for.
const ABI_SECTION: &str = "xvrrp_abi";

/// Checks that the object is there and of this daemon's version.
pub(super) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::NoObject);
    }
    let malformed = |error: object::Error| LoadError::Malformed(error.to_string());
    let file = object::File::parse(bytes).map_err(malformed)?;
    let section = file.section_by_name(ABI_SECTION).ok_or(LoadError::Lacks(ABI_SECTION))?;
    let data = section.data().map_err(malformed)?;
    let version = data.first_chunk().ok_or(LoadError::Lacks(ABI_SECTION))?;
    match u32::from_le_bytes(*version) {
        abi::VERSION => Ok(()),
        theirs => Err(LoadError::Abi { theirs }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_one_that_was_not_built() {
        assert!(matches!(check(&[]), Err(LoadError::NoObject)));
    }

    #[test]
    fn something_else_is_not_an_object() {
        assert!(matches!(check(b"something else"), Err(LoadError::Malformed(_))));
    }

    /// The object as built, with another number where its version stands.
    #[test]
    fn another_version_is_refused() {
        if EMBEDDED.is_empty() {
            return;
        }
        check(EMBEDDED).unwrap();
        let file = object::File::parse(EMBEDDED).unwrap();
        let (at, _) = file.section_by_name(ABI_SECTION).unwrap().file_range().unwrap();
        let mut other = EMBEDDED.to_vec();
        other[at as usize] ^= 0x40;
        let theirs = abi::VERSION ^ 0x40;
        assert!(matches!(check(&other), Err(LoadError::Abi { theirs: found }) if found == theirs));
    }
}
