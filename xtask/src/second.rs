//! The second kernel: Debian's own, booted under emulation, for the tests of what the kernel that
//! runs here may have been built without.
//!
//! Nothing of it is installed: the package is fetched and taken apart in the target folder. The
//! machine lives in memory, and its verdict comes over a line of its own, so that a panic or a
//! machine that hangs can't look like success.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::object::target_dir;
use crate::packages::{self, FOR_SECOND_KERNEL};
use crate::programs::{self, TestProgram};
use crate::run::{program, root, run};

mod image;
mod kernel;
mod machine;
mod modules;

use image::Image;

/// The test program that is made for it: all its tests are ignored elsewhere.
const OWN: &str = "second_kernel";
/// A test of it that needs the machine for itself.
const ALONE: &str = "loss::";
/// Test programs of which a part is run there too.
const ALSO: [(&str, &str); 3] = [
    ("attach", "vlan_whose_tags_are_hidden"),
    ("net", "own_links::"),
    ("xdp", "verdicts::handed_frames"),
];
/// Programs that the laboratory calls, beside those of busybox.
const TOOLS: [&str; 4] = ["ip", "tc", "ethtool", "tcpdump"];
/// The test of the own program that records frames there, for tshark, which reads them here: it is too
/// large to go along. The variable names the file, for both.
const RECORDS: &str = "tagged::tshark_complains_about_no_tagged_frame";
const RECORDED: &str = "LAB_TAGGED_FRAMES";

/// Fetches what it takes.
///
/// # Errors
///
/// When something can't be had here.
pub(crate) fn prepare(install: bool) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!(
            "the second kernel is Debian's for amd64, on which this machine's programs can't run"
        );
    }
    packages::ensure(&FOR_SECOND_KERNEL, "the tests on a second kernel", install)?;
    fs::create_dir_all(folder())?;
    kernel::ensure(&folder(), install).map(drop)
}

/// Boots it, and runs there the tests whose names contain the filter, or all that are meant for it.
///
/// # Errors
///
/// When a test fails, or when the machine ends without a word about them.
pub(crate) fn test(filter: Option<&str>) -> Result<()> {
    let (root, folder) = (root(), folder());
    let kernel = kernel::ensure(&folder, false)?;
    let mut image = Image::new()?;
    for tool in TOOLS {
        image.tool(tool)?;
    }
    image.program(&target_dir(&root).join("release/xvrrp"), "/usr/bin/xvrrp")?;
    // Where the test programs look for them.
    image.tree(&root.join("tests/cases"))?;
    image.tree(&root.join("vrrp-common/testdata"))?;
    let mut runs = Vec::new();
    for TestProgram { name, file } in programs::build(&names())? {
        let inside = format!("/tests/{name}");
        image.program(&stripped(&file, &folder.join(&name))?, &inside)?;
        runs.extend(calls(&name, &inside, filter));
    }
    image.modules(&kernel.modules)?;
    image.start(&runs);
    let initramfs = folder.join("initramfs");
    fs::write(&initramfs, image.close())?;
    println!("  booting {} under emulation", kernel.name);
    let frames = folder.join("frames.pcap");
    machine::boot(&kernel.image, &initramfs, &folder, &frames)?;
    if filter.is_some_and(|filter| !RECORDS.contains(filter)) {
        return Ok(());
    }
    let test = folder.join(OWN);
    run(program(test).args(["--ignored", "--exact", RECORDS]).env(RECORDED, frames))
}

fn folder() -> PathBuf {
    target_dir(&root()).join("second-kernel")
}

/// How a test program is called inside, as often as it is.
fn calls(name: &str, inside: &str, filter: Option<&str>) -> Vec<Vec<String>> {
    let own = ["--ignored"];
    let chosen = ALSO.iter().find(|(also, _)| *also == name).map(|(_, part)| *part);
    let calls: Vec<Vec<&str>> = match (name == OWN, filter) {
        (true, Some(filter)) => vec![[&own[..], &[filter]].concat()],
        (true, None) => {
            vec![[&own[..], &[ALONE]].concat(), [&own[..], &["--skip", ALONE]].concat()]
        }
        (false, filter) => vec![filter.or(chosen).into_iter().collect()],
    };
    // They mostly wait, and the machine is slow: side by side.
    let begin = [inside, "--test-threads=16"];
    let call = |words: Vec<&str>| begin.into_iter().chain(words).map(str::to_owned).collect();
    calls.into_iter().map(call).collect()
}

/// The names of the test programs that run there.
fn names() -> Vec<&'static str> {
    std::iter::once(OWN).chain(ALSO.map(|(name, _)| name)).collect()
}

/// A copy without what only debuggers read: it all goes through the emulated machine's memory.
fn stripped(file: &Path, copy: &Path) -> Result<PathBuf> {
    run(program("strip").arg("-o").arg(copy).arg(file))?;
    Ok(copy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_the_place_of_what_is_chosen() {
        let lines = |name, filter| -> Vec<String> {
            calls(name, "x", filter).iter().map(|words| words.join(" ")).collect()
        };
        let threads = "x --test-threads=16";
        assert_eq!(
            lines(OWN, None),
            [format!("{threads} --ignored loss::"), format!("{threads} --ignored --skip loss::")]
        );
        assert_eq!(lines(OWN, Some("bond")), [format!("{threads} --ignored bond")]);
        let chosen = format!("{threads} vlan_whose_tags_are_hidden");
        assert_eq!(lines("attach", None), [chosen]);
        assert_eq!(lines("attach", Some("bond")), [format!("{threads} bond")]);
    }
}
