//! bpf-linker: it turns the compiler's LLVM bitcode into the BPF object.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::compiler::{Compiler, Unfit};
use crate::run::{output, program, which};

/// The version that is installed, and the oldest that is used.
pub(crate) const VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be built with, newest first.
pub(crate) const LLVMS: [u32; 3] = [23, 22, 21];

/// A bpf-linker that fits.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    /// The LLVM it was built with; not known of one that was linked statically.
    pub(crate) llvm: Option<u32>,
}

impl Linker {
    /// Whether it can read what the compiler writes. One that does not tell its LLVM is believed:
    /// if it can't, it says so itself.
    pub(crate) fn reads(&self, compiler: &Compiler) -> bool {
        self.llvm.is_none_or(|llvm| llvm >= compiler.llvm)
    }
}

/// Looks in `PATH` and where cargo installs.
pub(crate) fn find() -> (Option<Linker>, Option<Unfit>) {
    let Some(path) = which("bpf-linker", &cargo_bins()) else {
        return (None, None);
    };
    match look(&path) {
        Ok(linker) => (Some(linker), None),
        Err(why) => (None, Some(Unfit { name: path.display().to_string(), why })),
    }
}

fn look(path: &Path) -> Result<Linker, String> {
    let told =
        output(program(path).arg("--version")).ok_or("it does not run (is its LLVM gone?)")?;
    let version = told.trim_start_matches("bpf-linker").trim().to_owned();
    if numbers(&version) < numbers(VERSION) {
        return Err(format!("{version} is older than {VERSION}"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Ok(Linker { path: path.to_owned(), version, llvm: needed_llvm(&bytes) })
}

/// The major version of the LLVM library that the program asks the dynamic linker for:
/// `libLLVM.so.22.1` today, `libLLVM-18.so.1` in older packages.
fn needed_llvm(program: &[u8]) -> Option<u32> {
    [b"libLLVM.so.".as_slice(), b"libLLVM-"].iter().find_map(|prefix| {
        program.windows(prefix.len()).enumerate().filter(|(_, window)| window == prefix).find_map(
            |(at, _)| {
                let digits = program[at + prefix.len()..].iter().take_while(|b| b.is_ascii_digit());
                String::from_utf8(digits.copied().collect()).ok()?.parse().ok()
            },
        )
    })
}

/// The folders into which `cargo install` may put programs.
fn cargo_bins() -> Vec<PathBuf> {
    let from = |name: &str| env::var_os(name).map(PathBuf::from);
    let home = from("HOME").map(|home| home.join(".cargo"));
    [from("CARGO_INSTALL_ROOT"), from("CARGO_HOME"), home]
        .into_iter()
        .flatten()
        .map(|root| root.join("bin"))
        .collect()
}

fn numbers(version: &str) -> Vec<u32> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_is_the_one_that_the_dynamic_linker_is_asked_for() {
        assert_eq!(needed_llvm(b"..\0libLLVM.so.22.1\0libc.so.6\0"), Some(22));
        assert_eq!(needed_llvm(b"..\0libLLVM-18.so.1\0"), Some(18));
        assert_eq!(needed_llvm(b"libLLVM.so.\0libLLVM.so.23.1"), Some(23));
        assert_eq!(needed_llvm(b"statically linked"), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("0.9.15") < numbers("0.13.0"));
        assert!(numbers("0.13.1") > numbers(VERSION));
        assert!(numbers("garbage") < numbers(VERSION));
    }
}
