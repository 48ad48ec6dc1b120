//! The command line.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::model::Datapath;
use crate::config::{Loaded, ReadError};
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
    /// Exit status: 0 nothing is left, 1 the daemon runs, something could not be given up, or it ran in
    /// another network namespace or was another version, 4 no permission.
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
        None => file(&run.file),
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
    let loaded = file(named).and_then(|path| config::load(&path).map_err(RunError::Unreadable));
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("xvrrp: {error}");
            return ExitCode::FAILURE;
        }
    };
    loaded.check_scripts(&track::security::Checker::of_root());
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
    // Without `-f` it may be another one than was meant.
    print(&format!("{}:\n", loaded.source.path.display()));
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
fn file(named: &File) -> Result<PathBuf, RunError> {
    if let Some(path) = &named.file {
        return Ok(path.clone());
    }
    first_of(&FILES.map(Path::new)).map_err(RunError::Unreadable)?.ok_or_else(|| {
        RunError::NoConfig(format!(
            "no configuration: neither {} nor {} is there; name one with -f",
            FILES[0], FILES[1]
        ))
    })
}

/// The first of these that is there, also where it is a link to nothing: that one is meant, and reading it
/// says what is wrong. One that can't be looked for may be there, so no other is taken in its place.
fn first_of(paths: &[&Path]) -> Result<Option<PathBuf>, ReadError> {
    for &path in paths {
        match path.symlink_metadata() {
            Ok(_) => return Ok(Some(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ReadError { path: path.to_owned(), source }),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_other_file_is_read_in_the_place_of_one_that_can_not_be() {
        let dir = tempfile::tempdir().unwrap();
        let [none, link, plain] = ["none", "link", "plain"].map(|name| dir.path().join(name));
        symlink(&none, &link).unwrap();
        fs::write(&plain, "").unwrap();
        // Not to be looked into, as a directory of root's for others.
        let beneath = plain.join("x");
        assert_eq!(first_of(&[&none, &plain]).unwrap(), Some(plain.clone()));
        assert_eq!(first_of(&[&none]).unwrap(), None);
        assert_eq!(first_of(&[&link, &plain]).unwrap(), Some(link));
        let error = first_of(&[&beneath, &plain]).unwrap_err();
        assert_eq!(error.path, beneath);
        assert_eq!(RunError::Unreadable(error).exit_code(), 1);
    }
}
