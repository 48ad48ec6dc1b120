//! How the daemon ends that can't start.

use std::path::Path;
use std::process::Output;

use anyhow::{Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::daemon::xvrrp_binary;
use vrrp_tests::{Kind, Lab, cases, netns};

/// Runs the daemon to its end, through these words.
pub(super) fn run(lab: &Lab, through: &[&str], conf: &Path, run_dir: &Path) -> Result<Output> {
    let binary = lab.dir().join("xvrrp").display().to_string();
    // Other users may not be able to enter the folder that it was built in.
    if !Path::new(&binary).exists() {
        std::fs::copy(xvrrp_binary(), &binary)?;
    }
    // A daemon that starts against expectation must not hold the test up.
    let mut words = ["timeout", "60"].iter().chain(through).copied().chain([binary.as_str()]);
    let mut command = lab.ns("r1").command(words.next().unwrap_or_default());
    command.args(words).args(["run", "-f"]).arg(conf).arg("--run-dir").arg(run_dir);
    Ok(command.output()?)
}

pub(super) fn ends(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "{} and not {code}: {said}", output.status);
    for word in words {
        ensure!(said.contains(word), "no {word:?} in: {said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

#[test]
fn without_the_rights_4() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let conf = lab.write("good.conf", &Instance::new(100).alone(2))?;
    let own = lab.dir().join("nobody");
    std::fs::create_dir(&own)?;
    netns::run("chown", &["65534:65534", &own.display().to_string()])?;
    // Where it may write: it is the network that it may not touch.
    ends(&run(&lab, &nobody, &conf, &own.join("run"))?, 4, &["CAP_NET_ADMIN", "root"])?;
    ends(&run(&lab, &nobody, &conf, &lab.dir().join("run"))?, 4, &["Permission denied"])?;
    let secret = lab.write("secret.conf", &Instance::new(100).alone(2))?;
    netns::run("chmod", &["600", &secret.display().to_string()])?;
    let refused = run(&lab, &nobody, &secret, &own.join("run"))?;
    ends(&refused, 4, &["the configuration can't be read", "secret.conf: Permission denied"])?;
    // Root without the rights is nobody, too.
    let bound = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"];
    ends(&run(&lab, &bound, &conf, &lab.dir().join("run"))?, 4, &["CAP_NET_RAW"])?;
    ensure!(!lab.dir().join("run/control.sock").exists(), "a socket is left");
    Ok(())
}

#[test]
fn without_a_usable_configuration_2_and_without_any_6() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1"])?;
    let dir = lab.dir().join("run");
    let bad = lab.write("bad.conf", &cases::configuration("C05-eof-without-brace"))?;
    ends(&run(&lab, &[], &bad, &dir)?, 2, &["permanent error CONFIG"])?;
    let missing = lab.dir().join("missing.conf");
    ends(&run(&lab, &[], &missing, &dir)?, 6, &["missing.conf"])?;
    // A folder is a file that can't be read.
    ends(&run(&lab, &[], lab.dir(), &dir)?, 1, &["the configuration can't be read"])?;
    // The run directory can't be made.
    let good = lab.write("good.conf", &Instance::new(100).alone(2))?;
    ends(&run(&lab, &[], &good, Path::new("/proc/nowhere"))?, 1, &["/proc/nowhere"])
}
