//! Where it was measured, and with which daemons.

use std::fs;
use std::process::{Command, Stdio};

use vrrp_tests::bench_args::Who;
use vrrp_tests::daemon::xvrrp_binary;

/// The machine and the daemons.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) date: String,
    /// The load over the last minute when the measuring began.
    pub(crate) load: String,
    pub(crate) versions: Vec<(Who, String)>,
}

impl Machine {
    pub(crate) fn look(daemons: &[Who]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let load = read("/proc/loadavg");
        Self {
            cpu: model(&info).unwrap_or("unknown CPU").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: first_line("date", &["-u", "+%Y-%m-%d"]),
            load: load.split_whitespace().next().unwrap_or_default().to_owned(),
            versions: daemons.iter().map(|who| (*who, version(*who))).collect(),
        }
    }

    /// In one sentence.
    pub(crate) fn told(&self) -> String {
        let Self { cpu, cores, kernel, date, load, versions } = self;
        let versions: Vec<_> = versions.iter().map(|(_, version)| version.as_str()).collect();
        format!(
            "{cpu}, {cores} cores, Linux {kernel}, load {load} at the start, {date}; {}",
            versions.join(", ")
        )
    }
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

fn version(who: Who) -> String {
    match who {
        Who::Xvrrp => first_line(&xvrrp_binary().display().to_string(), &["--version"]),
        Who::Keepalived => {
            let told = first_line("keepalived", &["-v"]);
            let words: Vec<_> = told.split_whitespace().take(2).collect();
            words.join(" ").replace("Keepalived v", "keepalived ")
        }
        Who::Frr => first_line("/usr/lib/frr/vrrpd", &["-v"]).replace("vrrpd version", "FRR"),
    }
}

/// The first line that a program says, to whichever output.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().next().unwrap_or("unknown").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_what_the_kernel_calls_it() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"),
            Some("Some CPU @ 2 GHz")
        );
        assert_eq!(model("nothing"), None);
        assert!(!Machine::look(&[]).kernel.is_empty());
    }
}
