//! `cargo xtask build-ebpf`: the objects that `xvrrp` embeds.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, Result};

use crate::object::{Fnv, Object, VARIANTS, sources_hash, target_dir};
use crate::run::{forget, program, root, run};
use crate::slim;
use crate::toolchain::{self, Toolchain};

/// How to build it.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Install nothing: check, print the commands that would be run, and fail if there are any
    #[arg(long)]
    no_install: bool,
    /// More features of the kernel program, such as `log` for its debug messages (default: none)
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
}

impl Args {
    /// The program as it is embedded, and whether nothing may be installed for it.
    pub(crate) fn new(no_install: bool) -> Self {
        Self { no_install, features: Vec::new() }
    }
}

const TARGET: &str = "bpfel-unknown-none";
const PROFILE: &str = "ebpf";
const RUSTFLAGS: [&str; 2] = ["-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Builds the objects, unless they are there and made from the same things.
///
/// # Errors
///
/// When the toolchain is not complete or the program does not compile.
pub(crate) fn build(args: &Args) -> Result<()> {
    let workspace = root();
    let toolchain = toolchain::ensure(!args.no_install)?;
    for (name, variant) in VARIANTS {
        let all = args.features.iter().map(String::as_str).chain([variant]);
        let features: Vec<&str> = all.filter(|feature| !feature.is_empty()).collect();
        build_one(&workspace, &toolchain, name, &features.join(","))?;
    }
    Ok(())
}

fn build_one(workspace: &Path, toolchain: &Toolchain, name: &str, features: &str) -> Result<()> {
    let object = Object::of(workspace, name)?;
    let note = note(workspace, toolchain, features)?;
    if object.object.is_file() && fs::read_to_string(&object.note).is_ok_and(|old| old == note) {
        println!("{} is up to date", object.object.display());
        return Ok(());
    }
    println!(
        "building the kernel program ({}) with {} ({}) and bpf-linker {}",
        why(&object, &note),
        toolchain.compiler.name,
        toolchain.compiler.version,
        toolchain.linker.version
    );
    run(&mut build_command(workspace, toolchain, features))?;
    let built = ebpf_target(workspace).join(TARGET).join(PROFILE).join("vrrp-ebpf");
    let bytes = fs::read(&built).with_context(|| format!("no object at {}", built.display()))?;
    let bytes = slim::slim(&bytes).with_context(|| format!("in {}", built.display()))?;
    // The note last: with an object that is newer than its note the next run only builds again.
    replace(&object.object, &bytes)?;
    replace(&object.note, note.as_bytes())?;
    println!("{}: {} bytes", object.object.display(), bytes.len());
    Ok(())
}

/// What differs from the object that is there.
fn why(object: &Object, note: &str) -> String {
    if !object.object.is_file() {
        return "not built yet".to_owned();
    }
    let lines = note.lines().filter_map(|line| line.split_once(' '));
    let changed: Vec<_> = lines
        .filter(|(key, value)| object.noted(key).as_deref() != Some(*value))
        .map(|(key, _)| key)
        .collect();
    format!("changed: {}", changed.join(", "))
}

/// The build has a target folder of its own, or it would wait for and throw away what others do.
fn ebpf_target(workspace: &Path) -> std::path::PathBuf {
    target_dir(workspace).join("ebpf")
}

fn build_command(workspace: &Path, toolchain: &Toolchain, features: &str) -> Command {
    let mut command = program(&toolchain.compiler.cargo);
    // Whatever chose a compiler or flags for the host's programs must not reach this build.
    forget(&mut command, |name| {
        let prefixes = [
            "RUSTC",
            "RUSTDOC",
            "RUSTUP_TOOLCHAIN",
            "CARGO_BUILD_",
            "CARGO_PROFILE_",
            "CARGO_TARGET_",
        ];
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.contains("RUSTFLAGS")
    });
    let linker = format!("-Clinker={}", toolchain.linker.path.display());
    let flags = [&[linker.as_str()], RUSTFLAGS.as_slice()].concat().join("\x1f");
    command
        .env("CARGO", &toolchain.compiler.cargo)
        .env("RUSTC", &toolchain.compiler.rustc)
        // A compiler that is not a nightly builds `core` only when told that it may.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", ebpf_target(workspace))
        .args(["build", "--package", "vrrp-ebpf", "--profile", PROFILE])
        .args(["--target", TARGET, "-Z", "build-std=core"])
        .args(["--no-default-features", "--features", features]);
    command
}

/// All that decides what the object will be. The first line is the one that `vrrp-user/build.rs`
/// compares.
fn note(workspace: &Path, toolchain: &Toolchain, features: &str) -> Result<String> {
    let mut pins = Fnv::new();
    for file in ["Cargo.toml", "Cargo.lock"] {
        pins.add(&fs::read(workspace.join(file)).with_context(|| format!("can't read {file}"))?);
    }
    Ok(format!(
        "sources {}\npins {}\ncompiler {}\nlinker {}\nflags {}\nslim {}\nfeatures {}\n",
        sources_hash(workspace).context("can't read the sources of the kernel program")?,
        pins.hex(),
        toolchain.compiler.version,
        toolchain.linker.version,
        RUSTFLAGS.join(" "),
        slim::VERSION,
        features,
    ))
}

/// Writes the file in one step, and not at all when it has these bytes already: its time tells
/// cargo whether the daemon must be built again.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let new = file.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::SOURCES;

    /// A workspace of the two packages alone, removed at the end.
    struct Workspace(std::path::PathBuf);

    impl Workspace {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            for package in SOURCES {
                fs::create_dir_all(root.join(package).join("src/deep")).unwrap();
                fs::write(root.join(package).join("Cargo.toml"), "[package]").unwrap();
            }
            let workspace = Self(root);
            workspace.write("vrrp-ebpf/src/main.rs", "ab");
            workspace.write("vrrp-common/src/deep/wire.rs", "c");
            workspace
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.0.join(file), text).unwrap();
        }

        fn hash(&self) -> String {
            sources_hash(&self.0).unwrap()
        }
    }

    impl Drop for Workspace {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn every_source_changes_the_hash_and_nothing_else_does() {
        let workspace = Workspace::new("hash");
        let first = workspace.hash();
        workspace.write("vrrp-common/README.md", "not compiled");
        assert_eq!(workspace.hash(), first);
        workspace.write("vrrp-common/src/deep/wire.rs", "d");
        let second = workspace.hash();
        assert_ne!(second, first);
        workspace.write("vrrp-ebpf/Cargo.toml", "[package] # other");
        assert_ne!(workspace.hash(), second);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let hash = |parts: [&[u8]; 2]| {
            let mut hash = Fnv::new();
            parts.into_iter().for_each(|part| hash.add(part));
            hash.hex()
        };
        assert_ne!(hash([b"ab", b"c"]), hash([b"a", b"bc"]));
    }

    #[test]
    fn the_reason_to_build_is_told_from_the_note() {
        let workspace = Workspace::new("note");
        let object = Object { object: workspace.0.join("xvrrp.o"), note: workspace.0.join("note") };
        let note = "sources 1\ncompiler rustc 1.96.0 (2026)\nfeatures \n";
        assert_eq!(why(&object, note), "not built yet");
        workspace.write("xvrrp.o", "ELF");
        workspace.write("note", note);
        assert_eq!(object.noted("compiler").as_deref(), Some("rustc 1.96.0 (2026)"));
        assert_eq!(why(&object, &note.replace("1.96", "1.97")), "changed: compiler");
        let other = "sources 2\ncompiler rustc 1.96.0 (2026)\nfeatures log\n";
        assert_eq!(why(&object, other), "changed: sources, features");
    }

    #[test]
    fn a_file_with_the_same_bytes_is_left_untouched() {
        let workspace = Workspace::new("replace");
        let file = workspace.0.join("xvrrp.o");
        replace(&file, b"one").unwrap();
        let old = fs::File::open(&file).unwrap();
        replace(&file, b"one").unwrap();
        let inode = |meta: fs::Metadata| std::os::unix::fs::MetadataExt::ino(&meta);
        assert_eq!(inode(old.metadata().unwrap()), inode(file.metadata().unwrap()));
        replace(&file, b"two").unwrap();
        assert_ne!(inode(old.metadata().unwrap()), inode(file.metadata().unwrap()));
        assert_eq!(fs::read(&file).unwrap(), b"two");
    }
}
