//! Where the kernel program's object lies, and whether it still fits its sources.
//!
//! This file stands alone on `std`: `vrrp-user/build.rs` takes it in by path, so that the one who
//! builds the object and the one who embeds it can't disagree, and the daemon's build needs none
//! of this crate's dependencies.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What the object is made of, beside the pins in Cargo.lock: the program and what it shares with
/// user space.
pub(crate) const SOURCES: [&str; 2] = ["vrrp-ebpf", "vrrp-common"];

/// The objects, with the features of the program that they are built with: kernels take the first since
/// Linux 5.18, the second since 5.15, and those without timers for the program the third.
pub(crate) const VARIANTS: [(&str, &str); 3] =
    [("xvrrp.o", "timers,frags"), ("xvrrp-linear.o", "timers"), ("xvrrp-plain.o", "")];

/// The places of an object and of the note on what it was made from.
pub(crate) struct Object {
    /// The ELF object.
    pub(crate) object: PathBuf,
    /// The note, `key value` line by line; the line `sources` holds [`sources_hash`].
    pub(crate) note: PathBuf,
}

impl Object {
    /// The places of the object of this name for this workspace, `bpf` in its target folder; makes that
    /// folder, in which there is nothing else.
    ///
    /// # Errors
    ///
    /// When the folder can't be made.
    pub(crate) fn of(workspace: &Path, name: &str) -> io::Result<Self> {
        let folder = target_dir(workspace).join("bpf");
        fs::create_dir_all(&folder)?;
        Ok(Self { object: folder.join(name), note: folder.join(format!("{name}.made-from")) })
    }

    /// A line of the note, when there is one.
    pub(crate) fn noted(&self, key: &str) -> Option<String> {
        let note = fs::read_to_string(&self.note).ok()?;
        note.lines()
            .filter_map(|line| line.split_once(' '))
            .find_map(|(k, value)| (k == key).then(|| value.to_owned()))
    }
}

/// The target folder: `CARGO_TARGET_DIR`, a relative one seen from the workspace, else `target`.
pub(crate) fn target_dir(workspace: &Path) -> PathBuf {
    let set = env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    workspace.join(set.unwrap_or_else(|| "target".into()))
}

/// A hash over names and contents of all that the object is compiled from in this workspace.
///
/// # Errors
///
/// When a source can't be read.
pub(crate) fn sources_hash(workspace: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for package in SOURCES {
        let package = workspace.join(package);
        files.push(package.join("Cargo.toml"));
        let script = package.join("build.rs");
        files.extend(script.exists().then_some(script));
        rust_files(&package.join("src"), &mut files)?;
    }
    files.sort();
    let mut hash = Fnv::new();
    for file in files {
        let name = file.strip_prefix(workspace).unwrap_or(&file);
        hash.add(name.as_os_str().as_encoded_bytes());
        hash.add(&fs::read(&file)?);
    }
    Ok(hash.hex())
}

/// FNV-1a. It tells an old object from a new one and guards nothing, and unlike the standard
/// library's hasher it stays the same from one compiler to the next.
pub(crate) struct Fnv(u64);

impl Fnv {
    /// Of nothing yet.
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes one part in, with its length, so that parts don't run into each other.
    pub(crate) fn add(&mut self, part: &[u8]) {
        let length = (part.len() as u64).to_le_bytes();
        for byte in length.iter().chain(part) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The hash so far.
    pub(crate) fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
