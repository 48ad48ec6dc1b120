//! Lays the kernel program's objects where `fastpath` embeds them, in `$OUT_DIR`; empty ones when they
//! were not built, so that check, clippy and the unit tests need no eBPF toolchain.

use std::path::Path;
use std::{env, fs, io};

#[path = "../xtask/src/object.rs"]
mod object;

use object::{Object, SOURCES, VARIANTS, sources_hash};

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().unwrap_or(here);

    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed=../xtask/src/object.rs");
    for package in SOURCES {
        println!("cargo::rerun-if-changed=../{package}/src");
        println!("cargo::rerun-if-changed=../{package}/Cargo.toml");
    }
    for (name, _) in VARIANTS {
        let built = Object::of(workspace, name)?;
        // The folder and not the file: a file that is not there would make every build run this again.
        let folder = built.object.parent().unwrap_or(workspace);
        println!("cargo::rerun-if-changed={}", folder.display());
        lay(name, &bytes(&built, workspace)?)?;
    }
    Ok(())
}

/// The object, or nothing where it was not built.
fn bytes(built: &Object, workspace: &Path) -> io::Result<Vec<u8>> {
    match fs::read(&built.object) {
        Ok(bytes) => {
            if built.noted("sources") != Some(sources_hash(workspace)?) {
                println!(
                    "cargo::warning=the embedded XDP program is older than its sources: run `cargo xtask build-ebpf`"
                );
            }
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!(
                "cargo::warning=no XDP program embedded, this build has the slow path only: run `cargo xtask build-ebpf` first"
            );
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn lay(name: &str, object: &[u8]) -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    let out = Path::new(&out).join(name);
    // Left untouched when it is the same, or the crate would be compiled again for nothing.
    if fs::read(&out).ok().as_deref() != Some(object) {
        fs::write(&out, object)?;
    }
    Ok(())
}
