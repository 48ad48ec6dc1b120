//! What `cargo xtask bench` may be told. It stands here because the task only builds, and the
//! program that measures is one of this package.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What to measure, how often, and where to write it.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// One short run of each, and `detect` at 10 ms only: to see that all is well, not how well
    #[arg(long)]
    pub quick: bool,
    /// Only these measures
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub only: Vec<Measure>,
    /// Only these daemons
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub daemons: Vec<Who>,
    /// How often each thing is measured [default: 4 for detect, 3 for most; --quick: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: Option<u32>,
    /// Write every single value as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print xvrrp's medians beside those of an earlier run, from what that wrote with --json
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Draw the picture of docs/PERFORMANCE.md
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write the table as it stands in docs/PERFORMANCE.md; a file that has one already keeps
    /// everything around it
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Measure {
    /// How late a Backup speaks when the Active router is stopped or dies
    Detect,
    /// The cost of hearing 200 virtual routers each 10 ms
    Hear,
    /// The cost of speaking for 200 virtual routers each 10 ms
    Send,
    /// What a flood of bad adverts at full speed does
    Flood,
    /// Taking 200 addresses over
    Addresses,
    /// A reload with 200 instances at 20 ms
    Reload,
    /// The process that does the work is killed
    Crash,
    /// A Backup is paused for 80 ms again and again at 10 ms
    Stall,
    /// Memory with 255 instances
    Memory,
    /// How cost grows up to 4080 instances: 255 VRIDs, both families, eight interfaces
    Scale,
    /// What the kernel program costs per frame
    Xdp,
}

impl Measure {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 11] = [
        Self::Detect,
        Self::Hear,
        Self::Send,
        Self::Flood,
        Self::Addresses,
        Self::Reload,
        Self::Crash,
        Self::Stall,
        Self::Memory,
        Self::Scale,
        Self::Xdp,
    ];

    /// What it measures, in the words of the command's help.
    pub fn what(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().cloned());
        help.map(|help| help.to_string()).unwrap_or_default()
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Hear => "hear",
            Self::Send => "send",
            Self::Flood => "flood",
            Self::Addresses => "addresses",
            Self::Reload => "reload",
            Self::Crash => "crash",
            Self::Stall => "stall",
            Self::Memory => "memory",
            Self::Scale => "scale",
            Self::Xdp => "xdp",
        }
    }
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Who {
    /// xvrrp
    Xvrrp,
    /// keepalived
    Keepalived,
    /// FRR's vrrpd
    Frr,
}

impl Who {
    /// All, in the order of the table's columns.
    pub const ALL: [Self; 3] = [Self::Xvrrp, Self::Keepalived, Self::Frr];

    /// How it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xvrrp => "xvrrp",
            Self::Keepalived => "keepalived",
            Self::Frr => "FRR",
        }
    }
}

impl BenchArgs {
    /// What is to be measured, in order and once each.
    pub fn measures(&self) -> Vec<Measure> {
        let asked = |measure: &Measure| self.only.is_empty() || self.only.contains(measure);
        Measure::ALL.into_iter().filter(asked).collect()
    }

    /// Who is to be measured, in the order of the columns.
    pub fn daemons(&self) -> Vec<Who> {
        let asked = |who: &Who| self.daemons.is_empty() || self.daemons.contains(who);
        Who::ALL.into_iter().filter(asked).collect()
    }
}
