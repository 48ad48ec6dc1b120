//! Compilers that can build `core` for the BPF target: those with the library's sources.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::run::{cargo_path, output, program, which};

/// The oldest compiler that takes the workspace: its `rust-version`.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler that fits.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    /// What it is called in messages.
    pub(crate) name: String,
    /// The compiler itself, no proxy.
    pub(crate) rustc: PathBuf,
    /// The cargo to use with it.
    pub(crate) cargo: PathBuf,
    /// The first line of its version, as it goes into the note on the object.
    pub(crate) version: String,
    /// Its LLVM's major version: the linker must read what that LLVM writes.
    pub(crate) llvm: u32,
}

/// A compiler that was looked at and does not fit.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) name: String,
    pub(crate) why: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

/// Looks at rustup's nightly, at rustup's other toolchains and at the distribution's compiler,
/// which is also the order of preference.
pub(crate) fn find() -> (Vec<Compiler>, Vec<Unfit>) {
    let mut fit = Vec::new();
    let mut unfit = Vec::new();
    let mut sort = |name: String, rustc: PathBuf, cargo: Option<PathBuf>| match look(&rustc) {
        Ok((version, llvm)) => fit.push(Compiler {
            name,
            rustc,
            cargo: cargo.unwrap_or_else(cargo_path),
            version,
            llvm,
        }),
        Err(why) => unfit.push(Unfit { name, why }),
    };
    for toolchain in rustup_toolchains() {
        let name = format!("rustup's {}", toolchain.name);
        let cargo = toolchain.folder.join("bin/cargo");
        // Its own cargo: they agree on the unstable flags.
        let cargo = cargo.is_file().then_some(cargo);
        sort(name, toolchain.folder.join("bin/rustc"), cargo);
    }
    for rustc in distribution_compilers() {
        sort(rustc.display().to_string(), rustc, None);
    }
    (fit, unfit)
}

struct Toolchain {
    name: String,
    folder: PathBuf,
}

fn rustup_toolchains() -> Vec<Toolchain> {
    // Of `name /its/folder` or `name (active, default) /its/folder`, a line each.
    let list = output(program("rustup").args(["toolchain", "list", "--verbose"]));
    let list = list.unwrap_or_default();
    let mut found: Vec<_> = list.lines().filter_map(toolchain_of_line).collect();
    // Two names may be one toolchain.
    let mut seen = BTreeSet::new();
    found.retain(|toolchain| seen.insert(toolchain.folder.clone()));
    found.sort_by_key(|toolchain| !toolchain.name.starts_with("nightly"));
    found
}

fn toolchain_of_line(line: &str) -> Option<Toolchain> {
    let name = line.split_whitespace().next()?;
    let folder = &line[line.find(" /")? + 1..];
    Some(Toolchain { name: name.to_owned(), folder: PathBuf::from(folder.trim_end()) })
}

/// The version and LLVM of a compiler that fits, or what is wrong with it.
fn look(rustc: &Path) -> Result<(String, u32), String> {
    let told = output(program(rustc).arg("-vV")).ok_or("it does not run")?;
    let (version, release, llvm) = parse_version(&told).ok_or("its version can't be read")?;
    if numbers(&release) < numbers(OLDEST) {
        return Err(format!("{release} is older than {OLDEST}"));
    }
    let sysroot = output(program(rustc).args(["--print", "sysroot"])).ok_or("it does not run")?;
    let core = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !core.is_file() {
        return Err("no library sources (rust-src)".to_owned());
    }
    Ok((version, llvm))
}

/// The first line, the release and the LLVM major version out of `rustc -vV`.
fn parse_version(told: &str) -> Option<(String, String, u32)> {
    let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((told.lines().next()?.to_owned(), field("release: ")?.to_owned(), llvm))
}

/// Whether a Debian or Ubuntu package version such as `1.85.0+dfsg3-1` is new enough for us.
pub(crate) fn new_enough(version: &str) -> bool {
    numbers(version) >= numbers(OLDEST)
}

/// Major and minor version; the rest never decides.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split(['.', '+', '-', '~']).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The compilers outside of rustup: its proxies in `PATH` lead to what was looked at already.
fn distribution_compilers() -> BTreeSet<PathBuf> {
    let usual = PathBuf::from("/usr/bin/rustc");
    let found = which("rustc", &[]).into_iter().chain([usual]);
    let is_rustup = |path: &PathBuf| path.file_name().is_some_and(|name| name == "rustup");
    found.filter_map(|path| path.canonicalize().ok()).filter(|path| !is_rustup(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustup_lists_toolchains_in_two_forms() {
        let plain =
            toolchain_of_line("nightly-x86_64-unknown-linux-gnu /home/a b/.rustup/n").unwrap();
        assert_eq!(plain.name, "nightly-x86_64-unknown-linux-gnu");
        assert_eq!(plain.folder, Path::new("/home/a b/.rustup/n"));
        let marked = toolchain_of_line("stable-x (active, default) /r/stable-x").unwrap();
        assert_eq!(
            (marked.name.as_str(), marked.folder.to_str()),
            ("stable-x", Some("/r/stable-x"))
        );
        assert!(toolchain_of_line("no installed toolchains").is_none());
    }

    #[test]
    fn versions_are_read_from_compilers_and_packages() {
        let told = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4";
        let (first, release, llvm) = parse_version(told).unwrap();
        assert_eq!(first, "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)");
        assert_eq!((release.as_str(), llvm), ("1.97.0-nightly", 22));
        assert!(parse_version("rustc 1.97.0").is_none());
        assert!(
            new_enough("1.97.0-nightly")
                && new_enough("1.96.0+dfsg1-1~deb12u2")
                && new_enough(OLDEST)
        );
        assert!(!new_enough("1.63.0+dfsg1-2") && !new_enough("0.99") && !new_enough(""));
    }

    #[test]
    fn a_compiler_without_library_sources_does_not_fit() {
        assert_eq!(look(Path::new("/bin/false")).unwrap_err(), "it does not run");
        assert_eq!(look(Path::new("/bin/echo")).unwrap_err(), "its version can't be read");
    }
}
