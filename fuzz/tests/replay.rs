//! Replays the committed corpus, and holds it complete: every handed frame and configuration is a seed
//! of it. `XVRRP_BLESS=1 cargo test` writes those that are missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use xvrrp_fuzz::first;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn replay(target: &str, run: fn(&[u8])) {
    let inputs = files(&here("corpus").join(target));
    assert!(inputs.len() > 10, "{} inputs", inputs.len());
    for input in inputs {
        let data = fs::read(&input).expect("a readable input");
        eprintln!("{}", input.display());
        run(&data);
    }
}

/// Each seed is in the corpus, under whatever name.
fn holds(target: &str, seeds: Vec<(String, Vec<u8>)>) {
    let folder = here("corpus").join(target);
    let there: BTreeSet<Vec<u8>> =
        files(&folder).iter().map(|path| fs::read(path).expect("a readable input")).collect();
    assert!(seeds.len() > 10, "{} seeds", seeds.len());
    for (name, data) in seeds {
        if there.contains(&data) {
            continue;
        }
        assert!(std::env::var_os("XVRRP_BLESS").is_some(), "{target} lacks {name}");
        fs::write(folder.join(name), data).expect("a writable corpus");
    }
}

#[test]
fn adverts() {
    replay("check_advert", xvrrp_fuzz::check_advert);
}

/// Every frame, by the settings of routers of every kind.
#[test]
fn adverts_for_every_kind_of_router() {
    for input in files(&here("corpus/check_advert")) {
        let data = fs::read(&input).expect("a readable input");
        let Some((_, frame)) = data.split_first_chunk::<3>() else { continue };
        for (version, addresses) in
            (0..=255).flat_map(|version| [(version, 2), (version, 1 | xvrrp_fuzz::OTHER_GROUP)])
        {
            xvrrp_fuzz::check_advert(&xvrrp_fuzz::seed(version, 51, addresses, frame));
        }
    }
}

#[test]
fn configurations() {
    replay("config", xvrrp_fuzz::config);
}

#[test]
fn the_handed_frames_are_in_the_corpus() {
    let mut seeds = Vec::new();
    for file in files(&here("../vrrp-common/testdata")) {
        let text = fs::read_to_string(&file).expect("a text");
        let version = if text.contains("DUT-v2-pass") {
            2 | first::PASSWORD
        } else if text.contains("DUT-v6") {
            3 | first::V6
        } else if text.contains("DUT-unicast") {
            2 | first::UNICAST
        } else if text.contains("DUT-v3") {
            3
        } else {
            2
        };
        let addresses = if version & first::V6 != 0 { 2 } else { 1 };
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut name = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("#! frame ") {
                name = format!("{stem}-{}", rest.split(' ').next().unwrap_or_default());
            } else if !line.starts_with('#') && !line.is_empty() {
                let frame: Vec<u8> = (0..line.len() / 2)
                    .map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).expect("hex"))
                    .collect();
                seeds.push((name.clone(), xvrrp_fuzz::seed(version, 51, addresses, &frame)));
            }
        }
    }
    holds("check_advert", seeds);
}

#[test]
fn the_handed_configurations_are_in_the_corpus() {
    let seeds = files(&here("../tests/cases/conf"))
        .into_iter()
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a readable file"))
        })
        .collect();
    holds("config", seeds);
}
