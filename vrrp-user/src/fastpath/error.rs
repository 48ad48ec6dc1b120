//! Why the kernel program could not be loaded or told something.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use thiserror::Error;
use vrrp_common::abi;

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
    /// The caller: CAP_BPF and CAP_NET_ADMIN, or root, are needed.
    #[error("no permission to load a kernel program: CAP_BPF and CAP_NET_ADMIN are needed")]
    NotPermitted,
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
    match errno(error) {
        Some(libc::EPERM) => LoadError::NotPermitted,
        _ => LoadError::Kernel(chain(error, text(error))),
    }
}

/// The system's number for an error, wherever in the chain it is.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
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
        assert!(matches!(LoadError::from(created(libc::EPERM)), LoadError::NotPermitted));
        let LoadError::Kernel(text) = LoadError::from(created(libc::ENOMEM)) else {
            panic!("not the kernel");
        };
        assert!(text.contains("ROUTERS") && text.contains("memory"), "{text}");
    }
}
