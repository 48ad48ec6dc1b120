//! `xvrrp release`: what the guardian does, from outside, when that is gone too.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::ledger::release::{Released, release, undo};
use crate::ledger::{self, Entry, Table};
use crate::run_dir::{RunDir, RunDirError};
use crate::sys::clock::now;

/// Nothing could be asked for, let alone done.
const NO_PERMISSION: u8 = 4;

/// Gives up what the daemon of a run directory has left, says what, and gives the code to end with.
pub(super) fn main(run_dir: &Path) -> ExitCode {
    match left(run_dir) {
        Ok(released) if released.is_empty() => {
            println!("xvrrp: nothing was left");
            ExitCode::SUCCESS
        }
        Ok(released) => {
            for one in &released {
                println!("xvrrp: {one}");
            }
            let failed = released.iter().any(|one| !one.failed.is_empty());
            if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("xvrrp: {error}");
            let denied = matches!(&error, RunDirError::Io { error, .. }
                if error.kind() == io::ErrorKind::PermissionDenied);
            if denied { ExitCode::from(NO_PERMISSION) } else { ExitCode::FAILURE }
        }
    }
}

fn left(run_dir: &Path) -> Result<Vec<Released>, RunDirError> {
    let path = ledger::path(run_dir);
    let failed = |error| RunDirError::Io { path: path.clone(), error };
    let file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        // A daemon that ended in order has left none. Nothing is made where nothing is.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    // While this is held no daemon starts, and as long as one lives it can't be had.
    let _held = RunDir::take(run_dir)?;
    let Some(table) = Table::attach(file).map_err(failed)? else { return Ok(Vec::new()) };
    let entries: Vec<Entry> = table.entries().collect();
    let released = release(&table, &entries, table.alive(), now());
    undo(&table).map_err(failed)?;
    if released.iter().all(|one| one.failed.is_empty()) {
        // Where it stays, every router in it is marked.
        let _ = std::fs::remove_file(&path);
    }
    Ok(released)
}
