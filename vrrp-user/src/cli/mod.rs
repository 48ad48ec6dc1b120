//! The command line.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Loaded;
use crate::config::model::Datapath;
use crate::daemon::accepted::Accepted;
use crate::daemon::sought::{self, Here};
use crate::daemon::{self, Options, RunError};
use crate::guardian::channel::Keeper;
use crate::net::Snapshot;
use crate::{config, control, guardian, log, run_dir, status, track};

mod release;

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
    /// addresses up and end the daemon. Signals go to the main process, which starts a worker that does
    /// the work, and replaces it when it dies.
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
    /// Give up what a daemon that is gone has left: priority 0, addresses off.
    ///
    /// For `ExecStopPost=` of a unit, and for who killed all of it by hand. Does nothing while the daemon
    /// runs.
    ///
    /// Exit status: 0 nothing is left, 1 the daemon runs or something could not be given up, 4 no
    /// permission.
    Release(Left),
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
    #[arg(long, value_name = "DIR", default_value = run_dir::DEFAULT)]
    run_dir: PathBuf,
    /// This is the worker of a guardian
    #[arg(long, hide = true)]
    guarded: bool,
}

#[derive(Debug, Args)]
struct Left {
    /// The run directory of the daemon that is gone
    #[arg(long, value_name = "DIR", default_value = run_dir::DEFAULT)]
    run_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Ask {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The run directory of the daemon to ask
    #[arg(long, value_name = "DIR", default_value = run_dir::DEFAULT)]
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
    // The guardian stays small: whatever the words mean is for the worker to say.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "run")
        && words.next().is_none_or(|word| word != guardian::MARK)
    {
        return guardian::main();
    }
    match Cli::parse().command {
        Command::Run(run) => run_daemon(run),
        Command::Check(file) => check(&file),
        Command::Status(ask) => show(&ask),
        Command::Release(left) => release::main(&left.run_dir),
    }
}

fn run_daemon(run: Run) -> ExitCode {
    let mut keeper = match run.guarded.then(Keeper::meet).transpose() {
        Ok(keeper) => keeper,
        Err(error) => {
            eprintln!("xvrrp: no guardian: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _log = log::init();
    let accepted = keeper.as_mut().and_then(Accepted::take);
    let config = match &accepted {
        Some(accepted) => Ok(accepted.path().to_owned()),
        None => file(&run.file).map_err(RunError::NoConfig),
    };
    let result = config.and_then(|config| {
        let datapath = run.datapath.map(Datapath::from);
        daemon::run(Options { config, datapath, run_dir: run.run_dir, accepted }, keeper)
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
    let host = Snapshot::read().ok();
    let Here { says, doubts } = host.as_ref().map(|host| here(&loaded, host)).unwrap_or_default();
    loaded.warn_of_doubts(doubts);
    if let Some(host) = host {
        loaded.warn_of_links(&host.interfaces.values().map(|one| &*one.name).collect::<Vec<_>>());
    }
    print(&loaded.render(io::stdout().is_terminal()));
    if !loaded.diags.is_empty() {
        print("\n");
    }
    print(&loaded.summary(&says));
    ExitCode::from(loaded.exit_code())
}

/// What can be known of a configuration on this host alone.
fn here(loaded: &Loaded, host: &Snapshot) -> Here {
    loaded.startable().map(|config| sought::here(config, host)).unwrap_or_default()
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
