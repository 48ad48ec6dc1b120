//! What a daemon does that has not all rights.

use anyhow::{Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::{Daemon, Kind, Lab};

use super::LIMIT;

/// Without the right to load a kernel program adverts come through sockets, and one line says what it
/// takes: the kernel's answer to who lacks CAP_PERFMON alone is several of the verifier's.
#[test]
fn what_a_kernel_program_takes_is_said_in_one_line() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "r2"])?;
    let start = |host, set: &str| {
        let through = ["setpriv", &format!("--bounding-set={set}"), &format!("--inh-caps={set}")];
        let conf = Instance::new(100).alone(2);
        Daemon::start_through(&lab, Kind::Xvrrp, host, &conf, &through)
    };
    let no_perfmon = start("r1", "-perfmon,-sys_admin")?;
    let no_bpf = start("r2", "-bpf,-sys_admin")?;
    for (daemon, lacks) in [(&no_perfmon, "CAP_PERFMON"), (&no_bpf, "CAP_BPF")] {
        let why = format!(
            "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are needed; this process lacks {lacks}"
        );
        daemon.wait_log("Entering BACKUP STATE", LIMIT)?;
        let log = daemon.log();
        ensure!(
            log.contains(&format!(
                "through sockets: no permission to load a kernel program: {why}\n"
            )),
            "{log}"
        );
        let status = daemon.status()?;
        let (path, shown) = status.datapath("eth0")?;
        ensure!(path == "socket" && shown.ends_with(&why), "{path}: {shown}");
        // A time and a level at the start of each, and no dump between.
        let stray = log.lines().find(|line| !line.starts_with("20"));
        ensure!(stray.is_none(), "{log}");
    }
    Ok(())
}
