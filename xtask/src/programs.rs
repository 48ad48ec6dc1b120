//! The test programs of the package `vrrp-tests`, as cargo builds them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, output, run};

/// A test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// What cargo calls it.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) file: PathBuf,
}

/// Builds those with these names, or all, and says where they lie.
///
/// # Errors
///
/// When one can't be built, or cargo does not tell of it.
pub(crate) fn build(names: &[&str]) -> Result<Vec<TestProgram>> {
    let mut build = cargo(["test", "--package", "vrrp-tests", "--no-run"]);
    for name in names {
        build.args(["--test", name]);
    }
    run(&mut build)?;
    // Nothing is left to do, so that this only tells.
    let told = output(build.arg("--message-format=json")).context("cargo tells no programs")?;
    let built: Vec<_> = told.lines().filter_map(executable).collect();
    if let Some(missing) = names.iter().find(|name| built.iter().all(|built| built.name != **name))
    {
        bail!("cargo built no {missing}");
    }
    if built.is_empty() {
        bail!("cargo built no test program");
    }
    Ok(built)
}

/// The test program, if this is what cargo's message is about.
fn executable(message: &str) -> Option<TestProgram> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let file = message["executable"].as_str().filter(|_| is_test)?;
    Some(TestProgram { name: message["target"]["name"].as_str()?.to_owned(), file: file.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_cargos_messages() {
        let own = r#"{"reason":"compiler-artifact","target":{"name":"attach","kind":["test"]},"profile":{"test":true},"executable":"/t/attach-1"}"#;
        let attach = TestProgram { name: "attach".to_owned(), file: "/t/attach-1".into() };
        assert_eq!(executable(own), Some(attach));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"xvrrp","kind":["lib"]},"profile":{"test":false},"executable":null}"#;
        assert_eq!(executable(library), None);
        let bench = r#"{"reason":"compiler-artifact","target":{"name":"bench","kind":["bin"]},"profile":{"test":false},"executable":"/t/bench"}"#;
        assert_eq!(executable(bench), None, "built because its package is tested");
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable("warning: something"), None);
    }
}
