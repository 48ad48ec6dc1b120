//! What keepalived does with a file before it reads it: includes, conditions, variables and
//! repetitions. None of it is done yet, and a file that needs it can't be run: who knows what an
//! instance would have been.

use super::ast::{Statement, Word};
use super::diag::{Code, Diag};
use super::suggest::shown;
use super::words;

/// Takes the lines out that can't be read as they stand, with a message for each.
pub(super) fn take_out(statements: &mut Vec<Statement>) -> Vec<Diag> {
    let mut names = Vec::new();
    definitions(statements, &mut names);
    let mut diags = Vec::new();
    sweep(statements, &names, &mut diags);
    diags
}

/// The names of the variables that the file sets.
fn definitions(statements: &[Statement], names: &mut Vec<String>) {
    for statement in statements {
        names.extend(statement.words.iter().filter_map(defined).map(str::to_owned));
        if let Some(block) = &statement.block {
            definitions(&block.items, names);
        }
    }
}

/// The variable that a word sets: `$NAME=value`.
fn defined(word: &Word) -> Option<&str> {
    let (name, _) = word.text.strip_prefix('$')?.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain) && !word.quoted).then_some(name)
}

fn sweep(statements: &mut Vec<Statement>, names: &[String], diags: &mut Vec<Diag>) {
    statements.retain_mut(|statement| {
        if words::is_lvs(&statement.words[0].text) {
            return true;
        }
        if let Some(diag) = fault(statement, names) {
            diags.push(diag);
            return false;
        }
        if let Some(block) = &mut statement.block {
            sweep(&mut block.items, names, diags);
        }
        true
    });
}

fn fault(statement: &Statement, names: &[String]) -> Option<Diag> {
    let key = &statement.words[0];
    let text = key.text.as_str();
    let bare = !key.quoted;
    let (message, hint) = if bare && is_include(text) {
        (format!("`{text}` is not served yet"), "write the text of the file in its place")
    } else if bare && text.starts_with('@') {
        let message = format!("conditions (`{}`) are not served yet", shown(text));
        (message, "write one file for each host, without the `@` words")
    } else if bare && (text.starts_with("~SEQ") || text.starts_with("~LST")) {
        ("repetitions (`~SEQ`, `~LST`) are not served yet".to_owned(), "write the lines out")
    } else if let Some(name) = defined(key) {
        (format!("variables (`${}`) are not served yet", shown(name)), "write the values out")
    } else {
        let name = statement.words.iter().find_map(|word| used(word, names))?;
        (format!("variables (`${}`) are not served yet", shown(&name)), "write the value out")
    };
    let diag = Diag::error(Code::NotRead, statement.head(), message).hint(hint);
    Some(diag.now("the file is not used: an instance could be other than meant"))
}

fn is_include(text: &str) -> bool {
    matches!(text, "include" | "includea" | "includeb" | "includem" | "includer" | "includew")
}

/// A variable that the file sets or keepalived does, used in a word.
fn used(word: &Word, names: &[String]) -> Option<String> {
    const OWN: [&str; 7] = ["_PWD", "_INSTANCE", "_RANDOM", "_ENV", "_HASH", "_BANG", "_SEQ"];
    word.text.split('$').skip(1).find_map(|after| {
        let (braced, after) = match after.strip_prefix('{') {
            Some(rest) => (true, rest),
            None => (false, after),
        };
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &after[..end.unwrap_or(after.len())];
        let ends = braced || !after[name.len()..].starts_with(|c: char| !" \t,)".contains(c));
        let known = names.iter().any(|known| known == name) || (braced && OWN.contains(&name));
        (known && ends).then(|| name.to_owned())
    })
}
