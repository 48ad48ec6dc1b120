//! Reading the configuration's file: at start and at a reload.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::accepted::Accepted;
use super::leftovers;
use super::life::Life;
use super::service::Service;
use super::{Options, RunError};
use crate::config::Loaded;
use crate::config::diag::{Code, Diag, Severity};
use crate::config::model::Config;
use crate::track::security::Checker;

/// How long a reload waits for what is found out about its scripts.
const LOOK: Duration = Duration::from_secs(10);

/// Reads the file for a start, or what the worker before this one had read; whatever is wrong with it is
/// logged.
pub(super) fn read_config(options: &mut Options, life: &mut Life) -> Result<Config, RunError> {
    let path = options.config.display().to_string();
    let (accepted, is_kept) = match options.accepted.take() {
        Some(accepted) => {
            info!("Going on with {path} as it was read");
            (accepted, true)
        }
        None => {
            info!("Reading {path}");
            (read(options)?, false)
        }
    };
    let loaded = accepted.load();
    log_diagnostics(&loaded);
    let config = loaded.startable().map_err(|refusal| {
        if let Some(config) = &loaded.config {
            leftovers::clear_without_start(options, life, config);
        }
        RunError::Config(refusal.to_string())
    })?;
    for refused in &config.refused {
        error!("({}) is not run: {}", refused.name, refused.reason);
    }
    if is_kept {
        accepted.compare();
    } else {
        life.keep_config(&accepted);
        if loaded.has_commands() {
            // The start does not wait for it: whether a script can be run also shows when it is.
            tokio::spawn(tell_of_scripts(loaded.clone()));
        }
    }
    Ok(config.clone())
}

fn read(options: &Options) -> Result<Accepted, RunError> {
    Accepted::read(&options.config).map_err(|error| {
        if error.source.kind() == ErrorKind::NotFound {
            RunError::NoConfig(error.to_string())
        } else {
            RunError::Unreadable(error)
        }
    })
}

fn log_diagnostics(loaded: &Loaded) {
    log_some(loaded, |_| true);
}

fn log_some(loaded: &Loaded, which: impl Fn(&Diag) -> bool) {
    let lines = loaded.diags.iter().zip(loaded.log_lines());
    for (diag, line) in lines.filter(|(diag, _)| which(diag)) {
        match diag.severity {
            Severity::Error => error!("{line}"),
            Severity::Warning => warn!("{line}"),
            Severity::Notice => info!("{line}"),
        }
    }
}

/// Says which of a started configuration's commands are not run. What is risky of those that are is said
/// when they are.
async fn tell_of_scripts(loaded: Loaded) {
    let told = loaded.diags.len();
    let loaded = look_at_scripts(loaded).await;
    if loaded.diags.len() > told {
        let ours = [Code::ScriptUnusable, Code::ScriptSecurity];
        log_some(&loaded, |diag| diag.severity == Severity::Error && ours.contains(&diag.code));
    }
}

/// Adds what is wrong with the configuration's commands, on a thread that may wait: for a directory service
/// or a file server.
async fn look_at_scripts(loaded: Loaded) -> Loaded {
    if !loaded.has_commands() {
        return loaded;
    }
    let mut looked_at = loaded.clone();
    let looking = tokio::task::spawn_blocking(move || {
        looked_at.check_scripts(&Checker::of_this_daemon());
        looked_at
    });
    match timeout(LOOK, looking).await {
        Ok(Ok(looked_at)) => looked_at,
        // It does not panic: that would have ended the process.
        Ok(Err(_)) | Err(_) => {
            warn!("Looking up users and scripts takes too long: that they can be run is not known");
            loaded
        }
    }
}

/// A file on its way into force: what it says is read, its scripts are being looked at.
#[derive(Debug, Default)]
pub(super) struct Reading(Option<JoinHandle<(Accepted, Loaded)>>);

impl Reading {
    /// Waits for it; for ever where none is on its way. May be asked again where that was cut short.
    pub(super) async fn done(&mut self) -> (Accepted, Loaded) {
        let read = match &mut self.0 {
            Some(task) => task.await.ok(),
            None => None,
        };
        match read {
            Some(read) => {
                self.0 = None;
                read
            }
            None => std::future::pending().await,
        }
    }
}

impl Service {
    /// Reads the file; what comes of it is for [`Service::take`]. A file that is still on its way is left
    /// for this one.
    pub(super) fn reload(&mut self, reading: &mut Reading) {
        info!("Reloading {}", self.options.config.display());
        self.life.say("reloading");
        match Accepted::read(&self.options.config) {
            Ok(accepted) => {
                let loaded = accepted.load();
                reading.0 = Some(tokio::spawn(async { (accepted, look_at_scripts(loaded).await) }));
            }
            Err(error) => {
                reading.0 = None;
                error!("Reload refused, the running configuration stays: {error}");
                self.reloaded();
            }
        }
    }

    /// Takes a file into force that has been looked at, or says why it is not.
    pub(super) fn take(&mut self, (accepted, loaded): (Accepted, Loaded)) {
        log_diagnostics(&loaded);
        match loaded.reloadable() {
            Ok(config) => {
                // Before it is in force: who dies on the way is replaced by one that goes the rest.
                self.life.keep_config(&accepted);
                let config = self.filled(self.keep_names(config.clone()));
                self.apply(config, false);
                info!("Reload done");
            }
            Err(refusal) => {
                error!("Reload refused, the running configuration stays: {refusal}");
            }
        }
        self.reloaded();
    }

    fn reloaded(&mut self) {
        self.look_at_data_paths(None, false);
        self.life.say("reloaded");
    }
}
