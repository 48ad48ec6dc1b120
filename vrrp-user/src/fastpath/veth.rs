//! The program for a veth's driver, which finds the VLAN tags that come beside the frame.
//!
//! Where they are is the kernel's own business and not a promise, so it is looked up in the kernel's
//! description of itself. Where that, the driver (before Linux 6.3) or the right to read kernel memory
//! (lockdown) is missing, a veth has the same program as any other interface.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::maps::ProgramArray;
use aya::{Ebpf, EbpfLoader};
use thiserror::Error;

use super::adopt::JUDGE;
use super::btf::{Btf, BtfError};
use super::{LoadError, PROGRAM, error, named};

/// The program; its maps are those of the other one, which it calls.
pub(super) const PROGRAM_FOR_VETH: &str = "vrrp_xdp_veth";

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
/// Where the driver is a module that is loaded.
const MODULE: &str = "/sys/kernel/btf/veth";

/// Where the program finds a tag beside the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The pointer to the frame's socket buffer, behind the context.
    skb: u32,
    /// The tag in that.
    tag: u32,
}

/// Why that is not known.
#[derive(Debug, Error)]
pub(super) enum PlacesError {
    /// The kernel: it does not describe itself, or not to this process.
    #[error("{}: {error}", .path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it was not.
        error: io::Error,
    },
    /// The kernel: its description is of no use.
    #[error(transparent)]
    Btf(#[from] BtfError),
}

impl Places {
    /// What the running kernel says.
    ///
    /// # Errors
    /// [`PlacesError`].
    pub(super) fn find() -> Result<Self, PlacesError> {
        let kernel = read(KERNEL)?;
        let kernel = Btf::parse(&kernel, None)?;
        let tag = kernel.offset_of("sk_buff", "vlan_tci")?;
        let in_context = |btf: &Btf<'_>| btf.offset_of("veth_xdp_buff", "skb");
        let skb = match in_context(&kernel) {
            Err(BtfError::Lacks { .. }) => {
                let module = read(MODULE)?;
                in_context(&Btf::parse(&module, Some(&kernel))?)?
            }
            known => known?,
        };
        Ok(Self { skb, tag })
    }

    /// Has the program that is loaded next look there.
    pub(super) fn tell<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader.override_global("SKB_BEHIND_CONTEXT", &self.skb, true);
        loader.override_global("TAG_IN_SKB", &self.tag, true);
    }
}

fn read(path: &str) -> Result<Vec<u8>, PlacesError> {
    fs::read(path).map_err(|error| PlacesError::Read { path: Path::new(path).to_owned(), error })
}

/// Loads it beside the other one, which is loaded.
///
/// # Errors
/// [`LoadError`], above all where the kernel lets no program read its memory.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<OwnedFd, LoadError> {
    let kernel = |error: io::Error| LoadError::Kernel(error.to_string());
    let judge = named(ebpf, PROGRAM)?.fd()?.try_clone().map_err(kernel)?;
    let map = ebpf.map_mut(JUDGE).ok_or(LoadError::Lacks(JUDGE))?;
    ProgramArray::try_from(map)?.set(0, &judge, 0)?;
    let program = named(ebpf, PROGRAM_FOR_VETH)?;
    error::verified(|| program.load())?;
    program.fd()?.as_fd().try_clone_to_owned().map_err(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a kernel that has them at all they are aligned, and not at the beginning.
    #[test]
    fn the_running_kernel_says_where() {
        match Places::find() {
            Ok(Places { skb, tag }) => {
                assert!(skb >= 32 && skb % 8 == 0 && skb < 4096, "{skb}");
                assert!(tag > 0 && tag % 2 == 0 && tag < 4096, "{tag}");
            }
            Err(error) => eprintln!("not known here: {error}"),
        }
    }
}
