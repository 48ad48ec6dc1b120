//! Routes and rules, as `status` shows them.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Instance;
use crate::text::some_of;

/// One of a virtual router's routes or rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// `route` or `rule`, and it in the words of `ip`.
    pub path: String,
    /// Why the kernel did not take it, where it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Those of an instance, and which of them the kernel refuses.
pub(super) fn render(out: &mut String, i: &Instance) {
    let set: Vec<String> =
        i.paths.iter().filter(|one| one.error.is_none()).map(|one| one.path.clone()).collect();
    if !set.is_empty() {
        let word = if i.state == "MASTER" { "set" } else { "set while MASTER" };
        let _ = writeln!(out, "  {word}: {}", some_of(&set));
    }
    let refused = i.paths.iter().filter_map(|one| {
        let error = one.error.as_ref()?;
        Some(format!("{} ({error})", one.path))
    });
    let refused: Vec<String> = refused.collect();
    if !refused.is_empty() {
        let _ = writeln!(out, "  not set: {}", some_of(&refused));
    }
}
