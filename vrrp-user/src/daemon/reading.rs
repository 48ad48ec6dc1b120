//! Reading the configuration's file: at start and at a reload.

use std::io::ErrorKind;

use tracing::{error, info, warn};

use super::leftovers;
use super::life::Life;
use super::service::Service;
use super::{Options, RunError};
use crate::config::diag::Severity;
use crate::config::model::Config;
use crate::config::{self, Loaded};

/// Reads the file for a start; whatever is wrong with it is logged.
pub(super) fn read_config(options: &Options, life: &mut Life) -> Result<Config, RunError> {
    let loaded = config::load(&options.config).map_err(|error| {
        if error.source.kind() == ErrorKind::NotFound {
            RunError::NoConfig(error.to_string())
        } else {
            RunError::Unreadable(error)
        }
    })?;
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
    Ok(config.clone())
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
        self.life.say("reloaded");
    }

    fn read_again(&mut self) {
        let loaded = match config::load(&self.options.config) {
            Ok(loaded) => loaded,
            Err(error) => {
                error!("Reload refused, the running configuration stays: {error}");
                return;
            }
        };
        log_diagnostics(&loaded);
        match loaded.reloadable() {
            Ok(config) => {
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
