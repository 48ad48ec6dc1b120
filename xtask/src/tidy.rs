//! `cargo xtask tidy`: the repository's own rules, those that no other tool checks.
//!
//! The length of functions, `todo!` and the like are clippy's (see the lints in Cargo.toml).

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::run::{output, program, root};

/// The longest source file: a longer one is a sign that two things live in one room.
const LONGEST_FILE: usize = 500;

/// Files that may be longer, `path: reason` line by line.
const EXCEPTIONS: &str = "xtask/long-files.txt";

/// Checks all files that git knows, or would take in.
///
/// # Errors
///
/// With the number of faults, after each was printed with its place.
pub(crate) fn tidy() -> Result<()> {
    let root = root();
    let mut git = program("git");
    let listed = output(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]));
    let listed = listed.context("git can't list the files")?;
    let exceptions = fs::read_to_string(root.join(EXCEPTIONS)).unwrap_or_default();
    let mut rules = Rules::new(&root, &exceptions);
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        // A file that was removed but not yet from the index, or that is no text, has no rules.
        if let Ok(text) = fs::read_to_string(root.join(name)) {
            rules.check(name, &text);
        }
    }
    let changelog = fs::read_to_string(root.join("CHANGELOG.md")).unwrap_or_default();
    let faults = rules.close(&changelog);
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    Ok(())
}

struct Rules {
    /// Folders that are one machine's and nobody else's.
    own_paths: Vec<String>,
    exceptions: BTreeMap<String, String>,
    faults: Vec<String>,
}

impl Rules {
    fn new(root: &Path, exceptions: &str) -> Self {
        let home = env::var("HOME").unwrap_or_default();
        let own_paths = [root.display().to_string(), home].into_iter();
        let lines = exceptions.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once(':'));
        Self {
            own_paths: own_paths.filter(|path| path.len() > 2).map(|path| path + "/").collect(),
            exceptions: pairs.map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect(),
            faults: Vec::new(),
        }
    }

    fn check(&mut self, name: &str, text: &str) {
        if name.ends_with(".rs") {
            self.check_length(name, text);
        }
        for (line, at) in text.lines().zip(1..) {
            if let Some(path) = self.own_paths.iter().find(|path| line.contains(path.as_str())) {
                self.faults.push(format!("{name}:{at}: names {path}, a folder of this machine"));
            }
            if ["<<<<<<< ", ">>>>>>> "].iter().any(|marker| line.starts_with(marker)) {
                self.faults.push(format!("{name}:{at}: a merge left its marker"));
            }
        }
    }

    fn check_length(&mut self, name: &str, text: &str) {
        let lines = text.lines().count();
        let exception = self.exceptions.remove(name);
        match exception {
            None if lines > LONGEST_FILE => self.faults.push(format!(
                "{name}: {lines} lines, more than {LONGEST_FILE}: split it, or give the reason in {EXCEPTIONS}"
            )),
            Some(reason) if reason.is_empty() => {
                self.faults.push(format!("{EXCEPTIONS}: no reason for {name}"));
            }
            Some(_) if lines <= LONGEST_FILE => {
                self.faults.push(format!("{EXCEPTIONS}: {name} is no longer long: take it out"));
            }
            None | Some(_) => {}
        }
    }

    /// What is wrong with the whole, after all files were seen.
    fn close(mut self, changelog: &str) -> Vec<String> {
        for name in self.exceptions.keys() {
            self.faults.push(format!("{EXCEPTIONS}: there is no file {name}"));
        }
        if !changelog.lines().any(|line| line.starts_with("## [Unreleased]")) {
            self.faults.push("CHANGELOG.md: no section `## [Unreleased]`".to_owned());
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n";

    fn faults(exceptions: &str, name: &str, text: &str, changelog: &str) -> Vec<String> {
        let mut rules = Rules::new(Path::new("/srv/checkout"), exceptions);
        rules.check(name, text);
        rules.close(changelog)
    }

    #[test]
    fn long_sources_need_a_reason() {
        let long = "//\n".repeat(LONGEST_FILE + 1);
        let short = "//\n".repeat(LONGEST_FILE);
        assert_eq!(faults("", "a.rs", &short, CHANGELOG), Vec::<String>::new());
        assert!(faults("", "a.rs", &long, CHANGELOG)[0].contains("501 lines"));
        assert!(faults("", "a.txt", &long, CHANGELOG).is_empty());
        assert!(faults("a.rs: one table", "a.rs", &long, CHANGELOG).is_empty());
        assert!(faults("a.rs:", "a.rs", &long, CHANGELOG)[0].contains("no reason"));
        assert!(faults("a.rs: one table", "a.rs", &short, CHANGELOG)[0].contains("no longer long"));
        assert!(faults("b.rs: gone", "a.rs", &short, CHANGELOG)[0].contains("no file b.rs"));
    }

    #[test]
    fn no_file_names_a_folder_of_this_machine() {
        let found = faults("", "README.md", "first\ncd /srv/checkout/x\n", CHANGELOG);
        assert!(found[0].starts_with("README.md:2: names /srv/checkout/"), "{found:?}");
        assert!(faults("", "README.md", "/srv/checkouts", CHANGELOG).is_empty());
    }

    #[test]
    fn markers_and_a_missing_changelog_section_are_told() {
        let marker = format!("{} HEAD", "<".repeat(7));
        assert!(faults("", "a.md", &marker, CHANGELOG)[0].contains("merge"));
        assert!(faults("", "a.md", "", "## 1.0\n")[0].contains("Unreleased"));
    }
}
