//! The configuration: keepalived.conf as people have it.
//!
//! A file goes through four rooms: bytes to text (`decode`), text to words and braces (`lexer`), those
//! to statements and blocks (`parser`), and those to a [`Config`] (`lower`). Each says what it finds wrong
//! and goes on. Nothing here opens a file but `read`, and nothing asks the host for anything. What has
//! to (does the script exist, may it be run?) comes in through [`ScriptChecker`].

mod ast;
mod decode;
pub mod diag;
mod lexer;
mod lower;
pub mod model;
mod parser;
mod suggest;
pub(crate) mod summary;
mod syntax;
mod unread;
mod value;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use diag::{Code, Diag, Lines, Severity};
use model::{Command, Config, Script, Source, Span, UserSpec};

/// What a file was found to be.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says, as far as that could be read, also where nothing can be started with it: the
    /// addresses are for cleaning up after an earlier life. See [`Loaded::startable`] before running
    /// it.
    pub config: Option<Config>,
    /// What is to be said about it, in the order of the file.
    pub diags: Vec<Diag>,
    /// Its text.
    pub source: Source,
    /// The interfaces that the host is to have.
    links: Vec<lower::links::Named>,
    /// The structure is broken or part of it could not be read: nothing of it can be relied on.
    broken: bool,
}

/// What is doubtful about an instance on this host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Of which kind it is.
    pub(crate) code: Code,
    /// Where the instance stands in the file.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) message: String,
    /// What comes of it.
    pub(crate) now: &'static str,
    /// What to do.
    pub(crate) hint: &'static str,
}

/// A file that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct ReadError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// Why nothing can be started with a file. The error itself is in [`Loaded::diags`] and not said
/// again: the text names its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstartable {
    /// Braces are missing, or it is no text, or it needs what can't be read yet.
    #[error("not started: the file can't be used, see {0}")]
    Broken(Errors),
    /// It has no instance that can be run.
    #[error("not started: no instance can be run, see {0}")]
    NothingToRun(Errors),
}

/// The errors of a file: which says most about why it is not used, and how many there are. Shown as
/// `FILE:LINE:COL (and 2 more errors)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// Where that one is: `FILE:LINE:COL`.
    pub first: String,
    /// How many there are, that one included.
    pub count: usize,
}

/// What a reload is refused for. As with [`Unstartable`], the text names the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("see {0}")]
pub struct Unreloadable(pub Errors);

/// Looks at the host for what a configuration says about commands. The configuration itself
/// never does.
pub trait ScriptChecker {
    /// Looks at one command. `user` is who it would run as where the command names nobody;
    /// `strict` is `enable_script_security`.
    fn check(&self, command: &Command, user: Option<&UserSpec>, strict: bool) -> Vec<ScriptFault>;
}

/// What is wrong with a command on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptFault {
    /// Others could change what is run, as opposed to: it can't be run.
    pub security: bool,
    /// What is wrong.
    pub message: String,
    /// Whether it is run all the same.
    pub is_run: bool,
    /// What to do about it.
    pub suggestion: Option<String>,
}

/// Reads a file.
///
/// # Errors
///
/// Only for what keeps it from being read; faults inside are in [`Loaded::diags`].
pub fn load(path: &Path) -> Result<Loaded, ReadError> {
    read(path).map(|bytes| parse_str(path, bytes))
}

/// Reads a file, and leaves what it says to [`parse_str`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    std::fs::read(path).map_err(|source| ReadError { path: path.to_owned(), source })
}

/// Reads a text, or bytes that may be one. `path` is for messages.
pub fn parse_str(path: &Path, text: impl AsRef<[u8]>) -> Loaded {
    match decode::decode(text.as_ref()) {
        decode::Decoded::Text(text) => parse_text(path, text),
        decode::Decoded::Binary { text, at, utf16 } => {
            let (message, hint) = if utf16 {
                ("the file is UTF-16", "save it as UTF-8")
            } else {
                ("a NUL byte: this is not a text", "a write that was cut short leaves such bytes")
            };
            let diag = Diag::error(Code::NotText, at..at + 1, message).hint(hint);
            let diags = vec![diag.now("nothing of it is used")];
            // Nothing of it is run, but its addresses may be on the host from an earlier life.
            let read = (!utf16).then(|| parse_text(path, text.clone()));
            let source = Source { path: path.to_owned(), text };
            let (config, links) = (read.and_then(|read| read.config), Vec::new());
            Loaded { config, diags, source, links, broken: true }
        }
    }
}

fn parse_text(path: &Path, text: String) -> Loaded {
    let lexed = lexer::tokens(&text);
    let mut tree = parser::parse(&text, &lexed.tokens);
    let mut ctx = lower::Ctx::new(&text);
    ctx.diags.extend(lexed.odd_spaces.into_iter().map(|span| syntax::odd_space(&text, span)));
    let unread = unread::take_out(&mut tree.items);
    let partial = !unread.is_empty();
    let broken = partial || tree.faults.iter().any(syntax::breaks);
    ctx.diags.extend(unread);
    let lines = Lines::new(&text);
    ctx.diags.extend(tree.faults.iter().map(|fault| syntax::diag(fault, &lines)));
    let lower::Lowering { config, mut diags, links } = lower::lower(ctx, &tree.items);
    if config.instances.is_empty() && config.refused.is_empty() && !broken {
        let diag = Diag::error(Code::NothingToRun, 0..0, "the file has no `vrrp_instance`");
        diags.push(diag.now("there is nothing to run"));
    }
    // What is missing may stand in the part that was not read.
    diags.retain(|diag| !(partial && diag.code == Code::Missing));
    diags.sort_by_key(|diag| (diag.span.start, std::cmp::Reverse(diag.severity)));
    let source = Source { path: path.to_owned(), text };
    Loaded { config: Some(config), diags, source, links, broken }
}

impl Loaded {
    /// What `xvrrp check` ends with: 0 no error, 4 nothing can be run, 5 errors, 6 nothing but
    /// scripts that others could change.
    pub fn exit_code(&self) -> u8 {
        let has = |test: &dyn Fn(&Diag) -> bool| self.diags.iter().any(test);
        if self.startable().is_err() {
            4
        } else if has(&|diag| is_error(diag) && diag.code != Code::ScriptSecurity) {
            5
        } else if has(&|diag| diag.code == Code::ScriptSecurity) {
            6
        } else {
            0
        }
    }

    /// The configuration, if a start may go on with it: the file is whole, and there is an
    /// instance that is exactly what was written. Those that would not be are in
    /// [`Config::refused`].
    ///
    /// # Errors
    ///
    /// Why not, in one short line.
    pub fn startable(&self) -> Result<&Config, Unstartable> {
        match &self.config {
            Some(config) if !self.broken => {
                if config.instances.is_empty() {
                    return Err(Unstartable::NothingToRun(self.errors()));
                }
                Ok(config)
            }
            _ => Err(Unstartable::Broken(self.errors())),
        }
    }

    /// The configuration, if a running daemon may take it over: no error anywhere, neither among what
    /// [`Loaded::check_scripts`] has added.
    ///
    /// # Errors
    ///
    /// Where the first error is, and how many there are. The old configuration stays.
    pub fn reloadable(&self) -> Result<&Config, Unreloadable> {
        match self.startable() {
            Ok(config) if !self.diags.iter().any(is_error) => Ok(config),
            _ => Err(Unreloadable(self.errors())),
        }
    }

    /// Whether the configuration has any command to be run.
    pub(crate) fn has_commands(&self) -> bool {
        self.config.as_ref().is_some_and(|config| commands(config).next().is_some())
    }

    /// Asks about every command of the configuration, and adds what is wrong to the messages: an error
    /// where it is not run, though it should be.
    pub fn check_scripts(&mut self, checker: &dyn ScriptChecker) {
        let Some(config) = &self.config else { return };
        let user = config.global.script_user.as_ref();
        let diags = commands(config).flat_map(|(what, command, lost)| {
            let faults = checker.check(command, user, config.global.script_security);
            faults.into_iter().map(move |fault| fault_diag(&what, command, lost, fault))
        });
        self.diags.extend(diags.collect::<Vec<_>>());
        self.diags.sort_by_key(|diag| (diag.span.start, std::cmp::Reverse(diag.severity)));
    }

    /// Adds what is doubtful about instances on a host. A file may be checked on another one than it is
    /// for, so these are warnings.
    pub(crate) fn warn_of_doubts(&mut self, doubts: Vec<Doubt>) {
        let warning = |doubt: Doubt| {
            let diag = Diag::warning(doubt.code, doubt.span, doubt.message);
            diag.now(doubt.now).hint(doubt.hint)
        };
        self.diags.extend(doubts.into_iter().map(warning));
        self.diags.sort_by_key(|diag| (diag.span.start, std::cmp::Reverse(diag.severity)));
    }

    /// Adds which interfaces a host with these has not. A file may be checked on another host than it is
    /// for, so these are warnings.
    pub fn warn_of_links(&mut self, host: &[&str]) {
        self.diags.extend(lower::links::missing(&self.links, host));
        self.diags.sort_by_key(|diag| (diag.span.start, std::cmp::Reverse(diag.severity)));
    }

    /// The messages for a terminal.
    pub fn render(&self, color: bool) -> String {
        diag::render(&self.source, &self.diags, color)
    }

    /// What will be run and what not, for a terminal: the end of what `xvrrp check` prints. `here`: what
    /// the host says about instances, by their names.
    pub fn summary(&self, here: &BTreeMap<String, String>) -> String {
        summary::summary(self, here)
    }

    /// The messages for the log, one line each.
    pub fn log_lines(&self) -> Vec<String> {
        diag::log_lines(&self.source, &self.diags)
    }

    fn errors(&self) -> Errors {
        let structure =
            |diag: &&Diag| matches!(diag.code, Code::Brace | Code::NotText | Code::NotRead);
        let mut errors = self.diags.iter().filter(|diag| is_error(diag));
        let count = errors.clone().count();
        let first = errors.clone().find(|diag| self.broken && structure(diag));
        // A file without an error has no reason to be refused.
        let at = first.or_else(|| errors.next()).map_or(0, |diag| diag.span.start);
        Errors { first: diag::place(&self.source, at), count }
    }
}

/// Returns the scripts that some instance tracks: only these are run.
pub fn tracked(config: &Config) -> impl Iterator<Item = &Script> {
    let names: BTreeSet<&str> = config
        .instances
        .iter()
        .flat_map(|instance| &instance.track_scripts)
        .map(|tracked| tracked.name.as_str())
        .collect();
    config.scripts.values().filter(move |script| names.contains(script.name.as_str()))
}

fn is_error(diag: &Diag) -> bool {
    diag.severity == Severity::Error
}

/// What comes of a check that can't be run.
const NOT_CHECKED: &str = "it is not run; a check that is not run counts as failed";
/// Of one that need not be.
const UNTRACKED: &str = "no instance that is run tracks it, so it is not run either";
/// Of another command.
const NOT_TOLD: &str = "it is not run";

/// The commands of a configuration: what each is, and what it means where it is not run.
fn commands(config: &Config) -> impl Iterator<Item = (String, &Command, &'static str)> {
    let tracked: BTreeSet<&str> = tracked(config).map(|script| script.name.as_str()).collect();
    let scripts = config.scripts.values().map(move |script| {
        let lost = if tracked.contains(script.name.as_str()) { NOT_CHECKED } else { UNTRACKED };
        (format!("script `{}`", script.name), &script.command, lost)
    });
    let instances = config.instances.iter().map(|one| (&one.name, &one.notify));
    let groups = config.groups.iter().map(|group| (&group.name, &group.notify));
    let notify = instances.chain(groups).flat_map(|(name, notify)| {
        notify
            .commands()
            .map(move |(keyword, command)| (format!("`{keyword}` of {name}"), command, NOT_TOLD))
    });
    scripts.chain(notify)
}

/// `lost`: what it means where it is not run.
fn fault_diag(what: &str, command: &Command, lost: &'static str, fault: ScriptFault) -> Diag {
    let (severity, now) = match (fault.is_run, lost) {
        (_, UNTRACKED) => (Severity::Warning, UNTRACKED),
        (true, _) => (
            Severity::Warning,
            "it is run all the same, since `enable_script_security` is not written",
        ),
        (false, _) => (Severity::Error, lost),
    };
    let code = if fault.security { Code::ScriptSecurity } else { Code::ScriptUnusable };
    Diag::new(severity, code, command.span.clone(), format!("{what}: {}", fault.message))
        .now(now)
        .hint_if(fault.suggestion)
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        match self.count {
            0 | 1 => Ok(()),
            2 => f.write_str(" (and one more error)"),
            count => write!(f, " (and {} more errors)", count - 1),
        }
    }
}
