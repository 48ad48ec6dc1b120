//! docs/CONFORMANCE.md names only what is there, and no MUST without a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LEVELS: [&str; 4] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"];

/// A rule of one of the RFCs.
#[derive(Debug)]
struct Row {
    /// The heading it stands under.
    rfc: String,
    section: String,
    level: String,
    /// The files it lives in.
    lives: String,
    /// The tests that show it being kept, or why there is none.
    kept: String,
    /// The tests that show its breach refused, or why there is none.
    refused: String,
}

/// The ledger: what its short names of files stand for, and its rows.
struct Ledger {
    files: BTreeMap<String, PathBuf>,
    rows: Vec<Row>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ledger() -> Ledger {
    let text = read(&root().join("docs/CONFORMANCE.md"));
    let mut ledger = Ledger { files: BTreeMap::new(), rows: Vec::new() };
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("## ") {
            rest.clone_into(&mut heading);
        }
        let Some(line) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            continue;
        };
        let cells: Vec<String> = line.split(" | ").map(|cell| cell.trim().to_owned()).collect();
        match cells.as_slice() {
            [name, file] if name.starts_with('`') => {
                let file = root().join(file.trim_matches('`'));
                ledger.files.insert(name.trim_matches('`').to_owned(), file);
            }
            [section, level, _, lives, kept, refused]
                if section.starts_with('§') && section != "§" =>
            {
                let [section, level, lives, kept, refused] =
                    [section, level, lives, kept, refused].map(Clone::clone);
                let rfc = heading.clone();
                ledger.rows.push(Row { rfc, section, level, lives, kept, refused });
            }
            _ => {}
        }
    }
    ledger
}

/// What stands in back quotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The tests that a cell names: a short name of a file, `::`, and a function.
fn tests(cell: &str) -> impl Iterator<Item = (&str, &str)> {
    quoted(cell).filter_map(|word| word.split_once("::"))
}

/// Says whether the text has a test function of this name.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let head = [format!("fn {name}("), format!("async fn {name}(")];
    lines.iter().enumerate().any(|(at, line)| {
        // Attributes, cases and comments stand between the two.
        let above = lines[..at].iter().rev();
        let mut above = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let is_mark =
            |line: &&str| matches!(line.trim_end(), "#[test]" | "#[rstest]" | "#[tokio::test]");
        head.iter().any(|head| line.starts_with(head.as_str())) && above.any(is_mark)
    })
}

#[test]
fn every_named_test_is_there() {
    let ledger = ledger();
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    let mut missing = Vec::new();
    for row in &ledger.rows {
        for (file, name) in tests(&row.kept).chain(tests(&row.refused)) {
            let Some(path) = ledger.files.get(file) else {
                missing.push(format!("{} {}: no file `{file}`", row.rfc, row.section));
                continue;
            };
            let text = texts.entry(file).or_insert_with(|| read(path));
            if !has_test(text, name) {
                missing.push(format!("{} {}: no `{file}::{name}`", row.rfc, row.section));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let unused: Vec<_> = ledger.files.keys().filter(|f| !texts.contains_key(f.as_str())).collect();
    assert!(unused.is_empty(), "files without a test in any row: {unused:?}");
}

#[test]
fn every_named_place_is_there() {
    for row in ledger().rows {
        for place in quoted(&row.lives) {
            assert!(root().join(place).exists(), "{} {}: no {place}", row.rfc, row.section);
        }
    }
}

/// A MUST has a test that shows it kept and one that shows its breach refused, or a word for why not:
/// the page explains them.
#[test]
fn no_must_is_without_a_test() {
    let bare = |cell: &str| tests(cell).next().is_none();
    let excuses = ["not ours: ", "departs: "];
    for Row { rfc, section, level, kept, refused, .. } in ledger().rows {
        let place = format!("{rfc} {section} {level}: {kept}, {refused}");
        assert!(LEVELS.contains(&level.as_str()), "{place}");
        let excused = |cell: &str| excuses.iter().any(|excuse| cell.starts_with(excuse));
        assert!(!bare(&kept) || excused(&kept), "{place}");
        let same = refused == "same" && !bare(&kept);
        let none = refused.starts_with("none: ") || refused == "–" && level.starts_with("SHOULD");
        assert!(!bare(&refused) || excused(&refused) || same || none, "{place}");
        // Who departs says how the RFC's way comes back.
        for cell in [kept, refused].iter().filter(|cell| cell.starts_with("departs: ")) {
            let option = cell.split("; ").skip(1).any(|o| o.starts_with('`') || o == "no option");
            assert!(option || cell.contains("without `") || cell.contains("no option"), "{place}");
        }
    }
}

/// How many rules each section has, as MUST and as SHOULD with their negations. Counted from the texts: a
/// sentence that says one thing twice is a rule, and so is one of the errata, or one in small letters that
/// binds.
type Count = (&'static str, usize, usize);

const RFC_3768: [Count; 20] = [
    ("5.2.1", 1, 0),
    ("5.2.2", 1, 0),
    ("5.2.3", 2, 0),
    ("5.3.2", 1, 0),
    ("5.3.4", 2, 0),
    ("5.3.6", 1, 0),
    ("5.3.8", 1, 0),
    ("5.3.10", 0, 1),
    ("6.1", 2, 0),
    ("6.4.1", 2, 0),
    ("6.4.2", 8, 0),
    ("6.4.3", 9, 0),
    ("7.1", 10, 3),
    ("7.2", 4, 0),
    ("8.1", 1, 1),
    ("8.2", 2, 2),
    ("8.3", 1, 0),
    ("8.4", 0, 1),
    ("9.1", 0, 1),
    ("9.2", 1, 0),
];

const RFC_9568: [Count; 30] = [
    ("2.5", 0, 1),
    ("5.1.1.2", 1, 0),
    ("5.1.1.3", 2, 0),
    ("5.1.2.2", 1, 0),
    ("5.1.2.3", 2, 0),
    ("5.2.2", 1, 0),
    ("5.2.4", 2, 0),
    ("5.2.5", 1, 0),
    ("5.2.6", 1, 0),
    ("5.2.7", 1, 0),
    ("5.2.8", 2, 0),
    ("5.2.9", 2, 0),
    ("6.1", 4, 0),
    ("6.4.1", 2, 0),
    ("6.4.2", 11, 0),
    ("6.4.3", 12, 0),
    ("7.1", 10, 5),
    ("7.2", 4, 0),
    ("7.4", 1, 0),
    ("8.1.1", 1, 1),
    ("8.1.2", 3, 3),
    ("8.1.3", 1, 0),
    ("8.2.1", 1, 1),
    ("8.2.2", 5, 2),
    ("8.2.3", 1, 1),
    ("8.2.4", 0, 1),
    ("8.3.1", 0, 1),
    ("8.3.2", 0, 3),
    ("8.4.2", 2, 3),
    ("9", 0, 1),
];

/// Both RFCs are in it with as many rows as each section has rules, and the errata are.
#[test]
fn the_ledger_is_whole() {
    let ledger = ledger();
    for (rfc, rules) in [("RFC 3768", RFC_3768.as_slice()), ("RFC 9568", &RFC_9568)] {
        let mut rows: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for row in ledger.rows.iter().filter(|row| row.rfc.starts_with(rfc)) {
            let count = rows.entry(row.section.trim_start_matches('§')).or_default();
            if row.level.starts_with("MUST") {
                count.0 += 1;
            } else {
                count.1 += 1;
            }
        }
        let rules = rules.iter().map(|(section, musts, shoulds)| (*section, (*musts, *shoulds)));
        assert_eq!(rows, rules.collect(), "MUST and SHOULD by section of {rfc}");
    }
    let text = read(&root().join("docs/CONFORMANCE.md"));
    for erratum in ["7947", "7949", "8298", "8299", "8300", "8301"] {
        assert!(text.contains(&format!("erratum {erratum}")), "erratum {erratum} is missing");
    }
}

/// The checks above are worth something only if they see what is missing.
#[test]
fn what_is_no_test_is_not_found() {
    let text = "#[rstest]\n#[case::a(1)]\n/// Words.\nfn yes(a: u8) {}\n\nfn no() {}\n\
                #[test]\nfn other() {}\n#[test]\nasync fn late() {}\n";
    assert!(has_test(text, "yes") && has_test(text, "other") && has_test(text, "late"));
    assert!(!has_test(text, "no") && !has_test(text, "ye") && !has_test(text, "es"));
}
