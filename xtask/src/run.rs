//! Running other programs: always from the workspace's root, and without what `cargo run` left in
//! the environment.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The workspace's root, wherever `cargo xtask` was called.
pub(crate) fn root() -> PathBuf {
    // At run time cargo says where this package is; what was true when it was compiled is the
    // second best, for a binary that is called without cargo.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().unwrap_or(&package).to_owned()
}

/// A program, to be run from the root.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    forget(&mut command, |name| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&name)
    });
    drop_library_path(&mut command);
    command
}

/// The cargo that runs this task, with the arguments.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut command = program(cargo_path());
    command.args(args);
    command
}

/// The cargo that runs this task: the toolchain's own binary, not rustup's proxy.
pub(crate) fn cargo_path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Takes the variables with these names out of the command's environment.
pub(crate) fn forget(command: &mut Command, named: impl Fn(&str) -> bool) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(&named) {
            command.env_remove(name);
        }
    }
}

/// `cargo run` puts its target folder and its toolchain's libraries before those of the system.
/// A compiler or a linker of another origin must not load its LLVM from there.
fn drop_library_path(command: &mut Command) {
    const NAME: &str = "LD_LIBRARY_PATH";
    let Some(paths) = env::var_os(NAME) else {
        return;
    };
    let toolchain = cargo_path().ancestors().nth(2).map(Path::to_owned);
    let built = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let cargos: Vec<_> = toolchain.into_iter().chain(built).collect();
    let kept = env::split_paths(&paths).filter(|path| !cargos.iter().any(|c| path.starts_with(c)));
    match env::join_paths(kept) {
        Ok(kept) if !kept.is_empty() => command.env(NAME, kept),
        _ => command.env_remove(NAME),
    };
}

/// Shows the command and runs it with this task's own output.
///
/// # Errors
///
/// When it can't be started, or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shell_line(command);
    println!("  $ {line}");
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("can't start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What the command prints, or nothing when it can't be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// The command as one would type it, with the variables that it sets.
pub(crate) fn shell_line(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?, value?)))
        .map(|(name, value)| format!("{name}={}", quoted(value)));
    let program = command.get_program();
    let program = if program == cargo_path() { OsStr::new("cargo") } else { program };
    let words = std::iter::once(program).chain(command.get_args());
    set.chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it for one.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy().replace('\x1f', " ");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The first executable with this name in `PATH`, then in `more`.
pub(crate) fn which(name: &str, more: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(more.iter().cloned())
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["install", "it's here"]).env("RUSTFLAGS", "-C linker=x\x1f-C y");
        assert_eq!(
            shell_line(&command),
            r"RUSTFLAGS='-C linker=x -C y' cargo install 'it'\''s here'"
        );
    }

    #[test]
    fn programs_are_found_by_name_and_must_be_executable() {
        assert!(which("sh", &[]).is_some());
        assert_eq!(which("no-such-program-here", &[]), None);
        assert!(root().join("Cargo.toml").is_file());
        assert_eq!(which("Cargo.toml", &[root()]), None, "not executable");
    }
}
