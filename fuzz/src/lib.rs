//! What the fuzzers run, as functions, so that the committed corpus is replayed by `cargo test`
//! without a fuzzer.
//!
//! Each panics when something that must hold does not.

mod advert;

pub use advert::{OTHER_GROUP, check_advert, first, seed};

use std::path::Path;

use xvrrp::config;

/// Reads a configuration: nothing may panic, and every message points into the text.
///
/// # Panics
/// It does not hold.
pub fn config(data: &[u8]) {
    let loaded = config::parse_str(Path::new("fuzz.conf"), data);
    let text = &loaded.source.text;
    for diag in &loaded.diags {
        assert!(text.get(diag.span.clone()).is_some(), "{:?} of {}", diag.span, text.len());
    }
    let good = loaded.startable().is_ok();
    assert_eq!(good, loaded.exit_code() != 4);
    assert!(good || loaded.reloadable().is_err());
    // What can't be started must say why.
    assert!(good || !loaded.diags.is_empty());
    let _ = loaded.render(false);
    assert_eq!(loaded.log_lines().len(), loaded.diags.len());
}
