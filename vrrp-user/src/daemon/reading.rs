//! Reading the configuration's file: at start and at a reload.

use std::io::ErrorKind;

use tracing::{error, info, warn};

use super::accepted::Accepted;
use super::leftovers;
use super::life::Life;
use super::service::Service;
use super::{Options, RunError};
use crate::config::Loaded;
use crate::config::diag::Severity;
use crate::config::model::Config;

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
    for (diag, line) in loaded.diags.iter().zip(loaded.log_lines()) {
        match diag.severity {
            Severity::Error => error!("{line}"),
            Severity::Warning => warn!("{line}"),
            Severity::Notice => info!("{line}"),
        }
    }
}

impl Service {
    pub(super) fn reload(&mut self) {
        info!("Reloading {}", self.options.config.display());
        self.life.say("reloading");
        self.read_again();
        self.look_at_data_paths(None);
        self.life.say("reloaded");
    }

    fn read_again(&mut self) {
        let accepted = match Accepted::read(&self.options.config) {
            Ok(accepted) => accepted,
            Err(error) => {
                error!("Reload refused, the running configuration stays: {error}");
                return;
            }
        };
        let loaded = accepted.load();
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
    }
}
