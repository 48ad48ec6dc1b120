//! Debian's package manager, for the machines that have it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{is_root, output, program, run, shell_line, which};

/// Whether packages can be looked up and installed here.
pub(crate) fn is_here() -> bool {
    which("apt-get", &[]).is_some()
}

/// Whether this is Debian itself, whose packages we know by name, and nothing made from it.
pub(crate) fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian")
}

/// Which of these packages can be had, with the version, as far as the package lists tell.
pub(crate) fn candidates(names: &[&str]) -> BTreeMap<String, String> {
    let told = output(program("apt-cache").env("LC_ALL", "C").arg("policy").args(names));
    parse_policy(&told.unwrap_or_default())
}

fn parse_policy(told: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut package = "";
    for line in told.lines() {
        if !line.starts_with(' ') {
            package = line.trim_end_matches(':');
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
            && version != "(none)"
        {
            found.insert(package.to_owned(), version.to_owned());
        }
    }
    found
}

/// The command that renews the package lists.
pub(crate) fn update_command() -> Command {
    let mut command = apt_get();
    command.args(["update", "-qq"]);
    command
}

/// The command that installs the packages.
pub(crate) fn install_command(packages: &[String]) -> Command {
    let mut command = apt_get();
    command.args(["install", "-qq", "-y", "--no-install-recommends"]).args(packages);
    command
}

/// As one types it: with sudo for anybody but root.
pub(crate) fn typed(command: &Command) -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    format!("{sudo}{}", shell_line(command))
}

/// Installs the packages, after a look at what that would take off the machine.
///
/// # Errors
///
/// When we are not root, when another package would have to go, or when apt-get fails.
pub(crate) fn install(packages: &[String]) -> Result<()> {
    let mut command = install_command(packages);
    if !is_root() {
        bail!("not root, so this is yours to run: {}", typed(&command));
    }
    let mut trial = install_command(packages);
    let told = output(trial.arg("--simulate")).unwrap_or_default();
    let removed: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("Remv ")).collect();
    if !removed.is_empty() {
        bail!(
            "this would remove {} from the machine, so it is yours to decide: {}",
            removed.join(", "),
            typed(&command)
        );
    }
    run(&mut command)
}

fn apt_get() -> Command {
    let mut command = program("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Somebody else's update may be running: cloud images do that when they start.
        .args(["-o", "DPkg::Lock::Timeout=120"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_tells_candidates() {
        let told = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1\n  Version table:\n     1.96.0 500\ngone:\n  Installed: (none)\n  Candidate: (none)\n";
        let found = parse_policy(told);
        assert_eq!(found.len(), 1);
        assert_eq!(found["rustc-web"], "1.96.0+dfsg1-1");
    }
}
