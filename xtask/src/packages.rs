//! The programs that the root tests and the demo run: peers, web servers, and tools to look with.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::apt;
use crate::run::{output, program, run, which};

/// A program and the Debian package that brings it.
pub(crate) struct Needed {
    /// A name in `PATH`, or a whole path.
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    /// The service that the package starts by itself where there is systemd.
    pub(crate) unit: Option<&'static str>,
}

const fn tool(program: &'static str, package: &'static str) -> Needed {
    Needed { program, package, unit: None }
}

const fn service(program: &'static str, package: &'static str, unit: &'static str) -> Needed {
    Needed { program, package, unit: Some(unit) }
}

/// For `cargo xtask test`.
pub(crate) const FOR_TESTS: [Needed; 8] = [
    tool("ip", "iproute2"),
    tool("ethtool", "ethtool"),
    tool("tcpdump", "tcpdump"),
    tool("tshark", "tshark"),
    tool("bpftool", "bpftool"),
    service("nginx", "nginx-light", "nginx"),
    service("keepalived", "keepalived", "keepalived"),
    service("/usr/lib/frr/vrrpd", "frr", "frr"),
];

/// For `cargo xtask demo`.
pub(crate) const FOR_DEMO: [Needed; 4] = [
    tool("ip", "iproute2"),
    tool("ss", "iproute2"),
    tool("ethtool", "ethtool"),
    service("nginx", "nginx-light", "nginx"),
];

/// For `cargo xtask test --kernel debian`, some of which go along.
pub(crate) const FOR_SECOND_KERNEL: [Needed; 10] = [
    tool("qemu-system-x86_64", "qemu-system-x86"),
    tool("/bin/busybox", "busybox-static"),
    tool("ip", "iproute2"),
    tool("ethtool", "ethtool"),
    tool("tcpdump", "tcpdump"),
    tool("tshark", "tshark"),
    tool("strip", "binutils"),
    tool("ldd", "libc-bin"),
    tool("dpkg-deb", "dpkg"),
    tool("timeout", "coreutils"),
];

/// Installs what is missing, and says what and `why`; or only says by what command, and fails.
///
/// # Errors
///
/// When something is missing and can't be installed, or must not be.
pub(crate) fn ensure(needed: &[Needed], why: &str, install: bool) -> Result<()> {
    let missing: Vec<_> = needed.iter().filter(|needed| !needed.is_here()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|needed| needed.program).collect();
    if !apt::is_here() {
        bail!(
            "{why} need these programs, and this machine has no apt-get to install them: {}",
            names.join(", ")
        );
    }
    let packages: Vec<_> = missing.iter().map(|needed| needed.package.to_owned()).collect();
    if !install {
        let typed = apt::typed(&apt::install_command(&packages));
        bail!("{why} need {}: `{typed}`", names.join(", "));
    }
    println!("  installing {}: {why} need {}", packages.join(", "), names.join(", "));
    // Without the network an old list is still better than none.
    if let Err(error) = run(&mut apt::update_command()) {
        println!("  {error:#}");
    }
    apt::install(&packages)?;
    for unit in missing.iter().filter_map(|needed| needed.unit).filter(|unit| is_active(unit)) {
        println!(
            "  note: Debian started {unit}.service; the tests don't need it: `systemctl disable --now {unit}` if you don't"
        );
    }
    match missing.iter().find(|needed| !needed.is_here()) {
        Some(still) => bail!("{} was installed, but there is no {}", still.package, still.program),
        None => Ok(()),
    }
}

impl Needed {
    fn is_here(&self) -> bool {
        // Debian keeps administrators' programs out of other users' PATH.
        let sbin = ["/usr/sbin".into(), "/sbin".into()];
        if self.program.starts_with('/') {
            Path::new(self.program).exists()
        } else {
            which(self.program, &sbin).is_some()
        }
    }
}

fn is_active(unit: &str) -> bool {
    let mut ask: Command = program("systemctl");
    output(ask.args(["is-active", unit])).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_is_not_installed_again() {
        assert!(tool("sh", "dash").is_here());
        assert!(tool("/etc/passwd", "base-passwd").is_here());
        assert!(!tool("no-such-program-here", "none").is_here());
        assert!(ensure(&[tool("sh", "no-such-package-here")], "these tests", true).is_ok());
        let missing = [tool("no-such-program-here", "no-such-package-here")];
        assert!(ensure(&missing, "these tests", false).is_err());
    }
}
