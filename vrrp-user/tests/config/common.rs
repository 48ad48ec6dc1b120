//! What the tests of the configuration share.

use std::path::{Path, PathBuf};

use xvrrp::config::diag::{Lines, Severity};
use xvrrp::config::model::{Config, Instance, Script};
use xvrrp::config::{Loaded, parse_str};

/// The folder of the handed configurations.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// The bytes of a handed configuration.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a handed configuration")
}

/// A handed configuration, read.
pub(crate) fn handed(name: &str) -> Loaded {
    parse_str(Path::new(name), bytes(name))
}

/// A text, read.
pub(crate) fn text(text: &str) -> Loaded {
    parse_str(Path::new("test.conf"), text)
}

/// An instance with these lines besides what each needs, read. They start in line 5.
pub(crate) fn instance(lines: &str) -> Loaded {
    text(&format!(
        "vrrp_instance VI_1 {{\ninterface eth0\nvirtual_router_id 51\n\
         virtual_ipaddress {{ 192.0.2.250/24 }}\n{lines}\n}}\n"
    ))
}

/// The messages as `LINE:COLUMN severity code`.
pub(crate) fn faults(loaded: &Loaded) -> Vec<String> {
    let lines = Lines::new(&loaded.source.text);
    let one = |diag: &xvrrp::config::diag::Diag| {
        let (line, column) = lines.position(&loaded.source.text, diag.span.start);
        let severity = match diag.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        format!("{line}:{column} {severity} {}", diag.code.as_str())
    };
    loaded.diags.iter().map(one).collect()
}

/// The suggestions, in the order of the messages.
pub(crate) fn hints(loaded: &Loaded) -> Vec<&str> {
    loaded.diags.iter().filter_map(|diag| diag.suggestion.as_deref()).collect()
}

/// What it says, whether or not it may be started.
pub(crate) fn config(loaded: &Loaded) -> &Config {
    loaded.config.as_ref().expect("a configuration")
}

/// An instance that is run.
pub(crate) fn run<'l>(loaded: &'l Loaded, name: &str) -> &'l Instance {
    let found = config(loaded).instances.iter().find(|instance| instance.name == name);
    found.unwrap_or_else(|| panic!("{name} is run: {:#?}", loaded.log_lines()))
}

/// Why an instance is not run.
pub(crate) fn refused<'l>(loaded: &'l Loaded, name: &str) -> &'l str {
    let found = config(loaded).refused.iter().find(|refused| refused.name == name);
    let found = found.unwrap_or_else(|| panic!("{name} is refused: {:#?}", loaded.log_lines()));
    assert!(config(loaded).instances.iter().all(|instance| instance.name != name));
    &found.reason
}

/// The addresses of an instance that is not run, as `ADDRESS/PREFIX DEVICE`.
pub(crate) fn left(loaded: &Loaded, name: &str) -> Vec<String> {
    let found = config(loaded).refused.iter().find(|refused| refused.name == name);
    let addresses = found.map(|refused| &refused.addresses[..]).unwrap_or_default();
    addresses.iter().map(|one| format!("{}/{} {}", one.ip, one.prefix, one.device)).collect()
}

/// A script that can be used.
pub(crate) fn script<'l>(loaded: &'l Loaded, name: &str) -> &'l Script {
    config(loaded).scripts.get(name).expect("a script")
}

/// The addresses as `ADDRESS/PREFIX`.
pub(crate) fn addresses(instance: &Instance) -> Vec<String> {
    instance.addresses.iter().map(|address| format!("{}/{}", address.ip, address.prefix)).collect()
}

/// Compares the rendered messages with the stored ones.
pub(crate) fn snapshot(name: &str, loaded: &Loaded) {
    let settings = {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings
    };
    settings.bind(|| insta::assert_snapshot!(name, loaded.render(false)));
}
