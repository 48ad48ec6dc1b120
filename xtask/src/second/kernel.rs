//! Debian's kernel package, fetched and taken apart, not installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::modules;
use crate::apt;
use crate::run::{output, program, run};

/// The package that depends on the newest kernel.
const NEWEST: &str = "linux-image-amd64";

/// A kernel that can be booted.
pub(super) struct Kernel {
    /// Its package and version.
    pub(super) name: String,
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// Its modules, each behind those that it needs.
    pub(super) modules: Vec<PathBuf>,
}

/// The kernel, fetched into the folder unless it lies there or must not be fetched.
///
/// # Errors
///
/// When the package lists don't have it, or it can't be fetched.
pub(super) fn ensure(folder: &Path, fetch_it: bool) -> Result<Kernel> {
    if !apt::is_here() {
        bail!("the second kernel is Debian's, and this machine has no apt-get to fetch it with");
    }
    let mut found = newest();
    if found.is_none() && fetch_it {
        run(&mut apt::update_command())?;
        found = newest();
    }
    let (package, version) = found.with_context(|| format!("the lists have no {NEWEST}"))?;
    let name = format!("{package} {version}");
    let place = folder.join(name.replace([' ', ':'], "_"));
    if !place.is_dir() {
        if !fetch_it {
            bail!("{name} is not there yet, and would be fetched: `apt-get download {package}`");
        }
        fetch(folder, &package, &place)?;
    }
    let order = fs::read_to_string(place.join("order"))?;
    let modules = order.lines().map(|module| place.join(module)).collect();
    Ok(Kernel { name, image: place.join("vmlinuz"), modules })
}

/// The package with the newest kernel, and its version.
fn newest() -> Option<(String, String)> {
    let told = output(program("apt-cache").env("LC_ALL", "C").args(["depends", NEWEST]))?;
    let package = parse_depends(&told)?;
    let version = apt::candidates(&[&package]).remove(&package)?;
    Some((package, version))
}

fn parse_depends(told: &str) -> Option<String> {
    let depends = told.lines().find_map(|line| line.trim().strip_prefix("Depends: "))?;
    Some(depends.trim().to_owned())
}

fn fetch(folder: &Path, package: &str, place: &Path) -> Result<()> {
    println!("  fetching {package}; it is not installed");
    let work = folder.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    if run(&mut download(package, &work)).is_err() {
        // The lists are older than what the archive still has.
        run(&mut apt::update_command())?;
        run(&mut download(package, &work))?;
    }
    let file = only(&work, |name| name.ends_with(".deb"))?;
    let tree = work.join("tree");
    run(program("dpkg-deb").arg("--extract").arg(&file).arg(&tree))?;
    // All that is needed of 400 MB, and in one step, so that there is no half of it.
    let new = work.join("new");
    fs::create_dir(&new)?;
    fs::copy(only(&tree.join("boot"), |name| name.starts_with("vmlinuz"))?, new.join("vmlinuz"))?;
    let all = only(&tree.join("lib/modules"), |_| true)?;
    let mut order = String::new();
    for module in modules::ordered(&all)? {
        let name = module.file_name().context("a module has a name")?;
        fs::copy(&module, new.join(name))?;
        order += &format!("{}\n", name.display());
    }
    fs::write(new.join("order"), order)?;
    fs::rename(&new, place)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

fn download(package: &str, work: &Path) -> std::process::Command {
    let mut command = program("apt-get");
    command.args(["download", "-qq", package]).current_dir(work);
    command
}

/// The file of this kind in a folder.
fn only(folder: &Path, is_it: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let files = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = files.filter_map(Result::ok).map(|entry| entry.path());
    let fits = |path: &PathBuf| path.file_name().is_some_and(|name| is_it(&name.to_string_lossy()));
    files.find(fits).with_context(|| format!("not what it should be: {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_what_the_package_depends_on() {
        let told = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(parse_depends(told).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(parse_depends("linux-image-amd64\n"), None);
    }
}
