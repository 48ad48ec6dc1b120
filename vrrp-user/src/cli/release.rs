//! `xvrrp release`: what the guardian does, from outside, when that is gone too.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::daemon::served::Heirs;
use crate::ledger::release::{release, undo};
use crate::ledger::{self, Table};
use crate::net::firewall;
use crate::procfs;
use crate::run_dir::{self, Holder, RunDir, RunDirError};
use crate::sys::clock::now;

/// Nothing could be asked for, let alone done.
const NO_PERMISSION: u8 = 4;

/// Gives up what the daemon of a run directory has left, says what, and gives the code to end with.
pub(super) fn main(run_dir: &Path) -> ExitCode {
    match left(run_dir) {
        Ok(left) if left.lines.is_empty() => {
            println!("xvrrp: nothing was left");
            ExitCode::SUCCESS
        }
        Ok(left) => {
            for line in &left.lines {
                println!("xvrrp: {line}");
            }
            if left.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(RunDirError::InUse { path, holder }) => {
            eprintln!("xvrrp: {}", refusal(&path, holder));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xvrrp: {error}");
            let denied = matches!(&error, RunDirError::Io { error, .. }
                if error.kind() == io::ErrorKind::PermissionDenied);
            if denied { ExitCode::from(NO_PERMISSION) } else { ExitCode::FAILURE }
        }
    }
}

/// Why nothing is given up that somebody has, and what to do.
fn refusal(run_dir: &Path, holder: Holder) -> String {
    let remedy = match holder {
        Holder::Worker(pid) => format!("`kill -9 {pid}`, then again"),
        Holder::Main(_) | Holder::Unknown => "it gives all up itself when it is stopped".to_owned(),
    };
    format!("{holder} uses {}: {remedy}", run_dir.display())
}

/// What was done, a line each, and whether something could not be.
#[derive(Debug, Default)]
struct Left {
    lines: Vec<String>,
    failed: bool,
}

fn left(run_dir: &Path) -> Result<Left, RunDirError> {
    let path = ledger::path(run_dir);
    let failed = |error| RunDirError::Io { path: path.clone(), error };
    let file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => Some(file),
        // A daemon that ended in order has left none. Nothing is made where nothing is.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let mut left = Left::default();
    if file.is_none() && !firewall::may_be_left(run_dir) {
        return Ok(left);
    }
    // While this is held no daemon starts, and as long as one lives it can't be had.
    let _held = match RunDir::take(run_dir) {
        // It never does anything again, and keeps others out for as long as the kernel keeps it.
        Err(RunDirError::InUse { holder: Holder::Worker(pid), .. }) if procfs::is_dying(pid) => {
            left.lines.push(format!("the worker (process {pid}) {}", procfs::UNDEAD));
            None
        }
        taken => Some(taken?),
    };
    let table = match file.map(Table::attach).transpose().map_err(failed)? {
        Some(Err(foreign)) if foreign.may_matter() => {
            // Neither it nor the note of a table is touched: they may be what somebody cleans up by.
            left.failed = true;
            left.lines.push(format!("{} is {foreign}", path.display()));
            return Ok(left);
        }
        // Of an earlier start of the host, nothing is left.
        attached => attached.and_then(Result::ok),
    };
    if let Some(table) = table {
        let (entries, lines) = Heirs::default().without(&table, table.entries().collect());
        left.lines.extend(lines);
        let by = run_dir::name(run_dir);
        let released = release(&by, &table, &entries, table.alive(), now());
        left.failed = released.iter().any(|one| !one.failed.is_empty());
        left.lines.extend(released.iter().map(ToString::to_string));
        if let Err(error) = undo(&by, &table) {
            left.failed = true;
            left.lines.push(format!("interfaces of its own stay: {error}"));
        }
        if !left.failed {
            // Where it stays, every router in it is marked.
            let _ = std::fs::remove_file(&path);
        }
    }
    match firewall::clear(run_dir) {
        Ok(false) => {}
        Ok(true) => left.lines.push("nftables table removed".to_owned()),
        Err(error) => {
            left.failed = true;
            left.lines.push(format!("nftables table stays: {error}"));
        }
    }
    Ok(left)
}
