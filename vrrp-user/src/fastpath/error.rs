//! Why the kernel program could not be loaded or told something.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use thiserror::Error;
use tracing::debug;
use vrrp_common::abi;

use super::rights;

/// Why the kernel program could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The build: it has no kernel program in it.
    #[error("this build has no kernel program in it")]
    NoObject,
    /// The build: the program in it is of another version than the daemon.
    #[error("the kernel program speaks version {theirs} of the maps, the daemon {}", abi::VERSION)]
    Abi {
        /// The version the program was built with.
        theirs: u32,
    },
    /// The build: the program in it can't be read as one.
    #[error("the kernel program is not one: {0}")]
    Malformed(String),
    /// The build: the program in it lacks something that every version has.
    #[error("the kernel program has no {0}")]
    Lacks(&'static str),
    /// The caller: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root, are needed.
    #[error(
        "no permission to load a kernel program: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are needed{}",
        missing(lacks)
    )]
    NotPermitted {
        /// Those that this process has not.
        lacks: Vec<&'static str>,
    },
    /// The kernel: it lacks something that the program needs.
    #[error("the kernel refuses the program: {0}")]
    Kernel(String),
}

/// Why the kernel program could not be told something.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// The caller: more routers or addresses than the maps were made for.
    #[error("the kernel program has no room for more routers or addresses")]
    Full,
    /// The kernel.
    #[error("the kernel refuses: {0}")]
    Kernel(#[source] io::Error),
    /// The maps library.
    #[error("{0}")]
    Map(String),
}

impl From<EbpfError> for LoadError {
    fn from(error: EbpfError) -> Self {
        classify(&error, EbpfError::to_string)
    }
}

impl From<ProgramError> for LoadError {
    fn from(error: ProgramError) -> Self {
        classify(&error, ProgramError::to_string)
    }
}

impl From<MapError> for LoadError {
    fn from(error: MapError) -> Self {
        classify(&error, MapError::to_string)
    }
}

impl From<MapError> for UpdateError {
    fn from(error: MapError) -> Self {
        match errno(&error) {
            Some(libc::E2BIG) => Self::Full,
            Some(number) => Self::Kernel(io::Error::from_raw_os_error(number)),
            None => Self::Map(error.to_string()),
        }
    }
}

/// How often a program is given to the verifier: each signal that comes meanwhile ends its work with EAGAIN,
/// as where a script has just ended. libbpf tries as often.
const ATTEMPTS: u32 = 5;

/// Tries to load a program until the verifier has come to an end.
///
/// # Errors
/// That of the last attempt.
pub(super) fn verified<T>(
    mut load: impl FnMut() -> Result<T, ProgramError>,
) -> Result<T, ProgramError> {
    for _ in 1..ATTEMPTS {
        match load() {
            Err(error) if errno(&error) == Some(libc::EAGAIN) => {}
            result => return result,
        }
    }
    load()
}

fn classify<E: std::error::Error + 'static>(error: &E, text: fn(&E) -> String) -> LoadError {
    let verifier = find(error, |error| {
        if let ProgramError::LoadError { io_error, verifier_log } = error.downcast_ref()? {
            Some((io_error, verifier_log.to_string()))
        } else {
            None
        }
    });
    if let Some((_, log)) = &verifier {
        debug!("the verifier says: {log}");
    }
    let lacks = rights::lacking();
    match errno(error) {
        Some(libc::EPERM) => LoadError::NotPermitted { lacks },
        // The verifier's no to whoever may not do pointer arithmetic, among others.
        Some(libc::EACCES) if lacks.contains(&rights::PERFMON) => LoadError::NotPermitted { lacks },
        _ => LoadError::Kernel(match verifier {
            Some((io_error, log)) => refusal(io_error, &log),
            None => chain(error, text(error)),
        }),
    }
}

/// The verifier's no in one line: of its words the last that are no figures.
fn refusal(io_error: &io::Error, log: &str) -> String {
    /// How the lines begin that have figures in them, which end it all.
    const FIGURES: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    /// Longer lines are cut.
    const MOST: usize = 200;
    let telling =
        |line: &&str| !line.is_empty() && !FIGURES.iter().any(|begin| line.starts_with(begin));
    match log.lines().map(str::trim).rfind(telling) {
        Some(line) => format!("{io_error}: {}", line.chars().take(MOST).collect::<String>()),
        None => io_error.to_string(),
    }
}

fn missing(lacks: &[&str]) -> String {
    if lacks.is_empty() {
        // What the process has may be good in its user namespace alone, or the kernel locked down.
        return " in the host's own user namespace".to_owned();
    }
    format!("; this process lacks {}", lacks.join(" and "))
}

/// The system's number for an error, wherever in the chain it is.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    find(error, |error| error.downcast_ref::<io::Error>())?.raw_os_error()
}

/// The first in a chain of errors of which `get` finds something.
fn find<'a, T>(
    error: &'a (dyn std::error::Error + 'static),
    get: impl Fn(&'a (dyn std::error::Error + 'static)) -> Option<T>,
) -> Option<T> {
    std::iter::successors(Some(error), |error| error.source()).find_map(get)
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error, mut text: String) -> String {
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    fn created(number: i32) -> EbpfError {
        EbpfError::MapError(MapError::CreateError {
            name: "ROUTERS".to_owned(),
            io_error: io::Error::from_raw_os_error(number),
        })
    }

    /// What becomes of a load of which the first so many end with this error, and how often it was tried.
    fn loaded(failing: u32, number: i32) -> (Result<(), ProgramError>, u32) {
        let mut attempts = 0;
        let result = verified(|| {
            attempts += 1;
            if attempts > failing {
                return Ok(());
            }
            let io_error = io::Error::from_raw_os_error(number);
            Err(ProgramError::from(SyscallError { call: "bpf_prog_load", io_error }))
        });
        (result, attempts)
    }

    #[test]
    fn a_signal_does_not_cost_the_program() {
        assert!(matches!(loaded(0, libc::EAGAIN), (Ok(()), 1)));
        assert!(matches!(loaded(4, libc::EAGAIN), (Ok(()), 5)));
        assert!(matches!(loaded(5, libc::EAGAIN), (Err(_), 5)));
        assert!(matches!(loaded(1, libc::EINVAL), (Err(_), 1)));
    }

    #[test]
    fn who_is_at_fault() {
        let refused = LoadError::from(created(libc::EPERM));
        assert!(matches!(refused, LoadError::NotPermitted { .. }));
        assert!(refused.to_string().contains("CAP_PERFMON"), "{refused}");
        let LoadError::Kernel(text) = LoadError::from(created(libc::ENOMEM)) else {
            panic!("not the kernel");
        };
        assert!(text.contains("ROUTERS") && text.contains("memory"), "{text}");
    }

    #[test]
    fn the_verifier_s_no_is_one_line() {
        let no = io::Error::from_raw_os_error(libc::EACCES);
        let log = "0: R1=ctx()\n5: (0f) r2 += r1\nR2 has no business here\nprocessed 6 insns\n";
        let told = "Permission denied (os error 13): R2 has no business here";
        assert_eq!(refusal(&no, log), told);
        assert_eq!(refusal(&no, "\n"), "Permission denied (os error 13)");
        let long = refusal(&no, &"x".repeat(5000));
        assert!(long.len() < 300, "{}", long.len());
    }

    #[test]
    fn what_is_missing_is_named() {
        let told = |lacks| LoadError::NotPermitted { lacks }.to_string();
        assert!(told(vec![rights::PERFMON]).ends_with("; this process lacks CAP_PERFMON"));
        assert!(told(vec![]).ends_with("needed in the host's own user namespace"));
    }
}
