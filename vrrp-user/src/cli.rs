//! The command line.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::model::Datapath;
use crate::daemon::{self, Options, RunError};
use crate::{config, control, log, status, track};

/// Where the configuration is looked for, in this order.
const FILES: [&str; 2] = ["/etc/xvrrp/xvrrp.conf", "/etc/keepalived/keepalived.conf"];

/// VRRP for Linux, with the keepalived.conf you have.
///
/// Keeps IP addresses alive on several hosts: one of them, the MASTER, holds them; when it falls silent
/// another takes over. Speaks VRRPv2 (RFC 3768) and VRRPv3 (RFC 9568).
#[derive(Debug, Parser)]
#[command(name = "xvrrp", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground; logs go to standard error.
    ///
    /// SIGHUP reads the configuration again; a faulty one changes nothing. SIGTERM and SIGINT give the
    /// addresses up and end the daemon.
    ///
    /// Exit status: 0 stopped by a signal, 1 fatal, 2 configuration, 4 no permission, 6 no
    /// configuration file, 70 internal error.
    Run(Run),
    /// Check a configuration and say what is wrong where.
    ///
    /// Exit status: 0 no error (warnings may be printed), 4 unusable, 5 errors, 6 only the security of
    /// scripts, 1 the file can't be read.
    Check(File),
    /// Show what the running daemon knows.
    Status(Ask),
}

#[derive(Debug, Args)]
struct File {
    /// The configuration [default: /etc/xvrrp/xvrrp.conf, else /etc/keepalived/keepalived.conf]
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    file: File,
    /// Which way adverts take from the interface; overrides `vrrp_datapath` [default: auto]
    #[arg(long, value_enum)]
    datapath: Option<PathName>,
    /// Where the lock and the control socket are
    #[arg(long, value_name = "DIR", default_value = "/run/xvrrp")]
    run_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Ask {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The run directory of the daemon to ask
    #[arg(long, value_name = "DIR", default_value = "/run/xvrrp")]
    run_dir: PathBuf,
}

/// The data paths by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PathName {
    /// Native XDP, else generic XDP, else a socket
    Auto,
    /// Native XDP, else a socket
    Xdp,
    /// Generic XDP, else a socket
    Generic,
    /// A socket
    Socket,
}

impl From<PathName> for Datapath {
    fn from(path: PathName) -> Self {
        match path {
            PathName::Auto => Self::Auto,
            PathName::Xdp => Self::Xdp,
            PathName::Generic => Self::Generic,
            PathName::Socket => Self::Socket,
        }
    }
}

/// The program: reads the command line and does what it says.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => run_daemon(run),
        Command::Check(file) => check(&file),
        Command::Status(ask) => show(&ask),
    }
}

fn run_daemon(run: Run) -> ExitCode {
    let _log = log::init();
    let result = file(&run.file).map_err(RunError::NoConfig).and_then(|config| {
        let datapath = run.datapath.map(Datapath::from);
        daemon::run(Options { config, datapath, run_dir: run.run_dir })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if error.exit_code() == 2 {
                tracing::error!("xvrrp exited with permanent error CONFIG. Terminating");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn check(named: &File) -> ExitCode {
    let loaded =
        file(named).and_then(|path| config::load(&path).map_err(|error| error.to_string()));
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("xvrrp: {error}");
            return ExitCode::FAILURE;
        }
    };
    loaded.check_scripts(&track::security::Checker);
    print(&loaded.render(io::stdout().is_terminal()));
    if !loaded.diags.is_empty() {
        print("\n");
    }
    print(&loaded.summary());
    ExitCode::from(loaded.exit_code())
}

fn show(ask: &Ask) -> ExitCode {
    match control::ask_status(&ask.run_dir) {
        Ok((_, text)) if ask.json => print(&text),
        Ok((status, _)) => print(&status::render(&status)),
        Err(error) => {
            eprintln!("xvrrp: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The file to read.
fn file(named: &File) -> Result<PathBuf, String> {
    if let Some(path) = &named.file {
        return Ok(path.clone());
    }
    FILES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned).ok_or_else(|| {
        format!(
            "no configuration: neither {} nor {} is there; name one with -f",
            FILES[0], FILES[1]
        )
    })
}
