//! From statements to the configuration the daemon uses.
//!
//! A fault never stops the reading. What it costs is decided where it is found: a default, a
//! warning, or the instance. The rule for the last: an instance that would send or hold something
//! else than was written is not run.

mod address;
mod auth;
mod command;
mod cross;
mod delays;
mod draft;
mod election;
mod garp;
mod global;
mod groups;
mod held;
mod instance;
mod items;
pub(super) mod links;
mod notify;
mod options;
mod own_link;
mod paths;
mod schedule;
mod script;
mod strict;
mod track;
mod unicast;
mod unknown;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ast::{Statement, Word, span_of};
use super::diag::{Code, Diag, Lines};
use super::model::{Config, Global, Span, SyncGroup};
use super::suggest::{nearest, shown};
use super::words::{self, Class, Place};
use instance::{Common, Lowered};
use items::Item;
use script::Scripts;

/// What all lowering needs: a place for messages, and the lines of the file.
pub(super) struct Ctx {
    /// The messages so far.
    pub(super) diags: Vec<Diag>,
    lines: Lines,
    text: Arc<str>,
    /// What rules get that say no preference.
    preferences: paths::Preferences,
}

impl Ctx {
    /// For a file with this text.
    pub(super) fn new(text: &str) -> Self {
        Self {
            diags: Vec::new(),
            lines: Lines::new(text),
            text: text.into(),
            preferences: paths::Preferences::default(),
        }
    }

    /// One for the same file, without its messages.
    fn aside(&self) -> Self {
        Self {
            diags: Vec::new(),
            lines: self.lines.clone(),
            text: Arc::clone(&self.text),
            preferences: self.preferences,
        }
    }

    /// What is left of the file from a word on.
    fn from(&self, word: &Word) -> &str {
        self.text.get(word.span.start..).unwrap_or_default()
    }

    fn push(&mut self, diag: Diag) {
        self.diags.push(diag);
    }

    /// Reports an error that costs an instance, and returns the reason.
    fn lose(&mut self, diag: Diag) -> Refusal {
        let line = self.lines.line(diag.span.start);
        let refusal = Refusal { word: "", reason: format!("line {line}: {}", diag.message) };
        self.push(diag);
        refusal
    }
}

/// Why an instance is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The keyword of `global_defs` it comes from; empty for others.
    word: &'static str,
    /// In one line.
    reason: String,
}

/// The result for a whole file.
pub(super) struct Lowering {
    /// What can be run.
    pub(super) config: Config,
    /// What is to be said about it.
    pub(super) diags: Vec<Diag>,
    /// The interfaces that the host is to have at the start; none with `dynamic_interfaces`.
    pub(super) links: Vec<links::Named>,
}

/// Lowers a file.
pub(super) fn lower(mut ctx: Ctx, statements: &[Statement]) -> Lowering {
    let Blocks { global, scripts, instances, groups, dynamic } = blocks(&mut ctx, statements);
    let links = if dynamic { Vec::new() } else { links::named(&instances) };
    let usable = scripts.into_iter().filter_map(|(name, script)| Some((name, script.ok()?)));
    let (instances_run, refused) = (Vec::new(), Vec::new());
    let scripts = usable.collect();
    let mut config = Config { global, scripts, instances: instances_run, refused, groups };
    for one in instances {
        one.settle(&mut config);
    }
    Lowering { config, diags: ctx.diags, links }
}

/// The blocks of a file, read.
struct Blocks {
    global: Global,
    scripts: Scripts,
    /// Those under a misspelled keyword first.
    instances: Vec<Lowered>,
    groups: Vec<Arc<SyncGroup>>,
    /// `dynamic_interfaces`.
    dynamic: bool,
}

fn blocks(ctx: &mut Ctx, statements: &[Statement]) -> Blocks {
    let mut root = Root::default();
    root.sort(ctx, statements);
    let (mut global, defaults) = global::lower(ctx, &root.globals);
    root.lost.extend(defaults.lost.iter().cloned());
    let scripts = script::lower(ctx, &root.scripts);
    global.link_delays = delays::lower(ctx, &root.delays);
    let names: BTreeSet<&str> = root.names().collect();
    let around =
        groups::Around { scripts: &scripts, delays: &global.link_delays, instances: &names };
    let groups = groups::lower(ctx, &root.groups, around);
    let common = Common { global: &global, defaults: &defaults, scripts: &scripts };
    let mut lowered: Vec<Lowered> = Vec::new();
    for statement in &root.instances {
        let mut one = instance::lower(ctx, statement, common);
        one.refuse_for_file(&root.lost);
        lowered.push(one);
    }
    groups::share(ctx, &groups, &mut lowered);
    let prefixes = cross::Prefixes { own: &defaults.vmac_prefix, others: &global.vmac_addr_prefix };
    cross::check(ctx, &mut lowered, prefixes);
    cross::limit(ctx, &mut lowered);
    links::track_devices(ctx, &mut lowered, &global.link_delays);
    let groups = groups::settle(groups, &mut lowered);
    cross::share(&mut lowered);
    let mut instances = Vec::new();
    // They are read for their addresses alone: what else is wrong there is nothing to speak of.
    let mut aside = ctx.aside();
    for (item, refusal) in &root.misspelled {
        let mut one = instance::lower(&mut aside, item, common);
        one.refusals = vec![refusal.clone()];
        instances.push(one);
    }
    instances.extend(lowered);
    let dynamic = defaults.places.contains_key("dynamic_interfaces");
    Blocks { global, scripts, instances, groups, dynamic }
}

/// The statements outside all blocks, by kind.
#[derive(Default)]
struct Root<'a> {
    globals: Vec<&'a Statement>,
    scripts: Vec<Item<'a>>,
    instances: Vec<Item<'a>>,
    groups: Vec<Item<'a>>,
    delays: Vec<Item<'a>>,
    /// What costs every instance.
    lost: Vec<Refusal>,
    /// Instances under a keyword that is none, and what that costs each.
    misspelled: Vec<(Item<'a>, Refusal)>,
}

impl<'a> Root<'a> {
    /// The names of the instances, also of those under a misspelled keyword.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        let misspelled = self.misspelled.iter().map(|(item, _)| item);
        let all = self.instances.iter().chain(misspelled);
        all.filter_map(|item| item.args.first().map(|word| word.text.as_str()))
    }

    fn sort(&mut self, ctx: &mut Ctx, statements: &'a [Statement]) {
        for statement in statements {
            let key = &statement.words[0];
            if words::is_lvs(&key.text) {
                ctx.push(lvs(statement));
                continue;
            }
            let lost = "no instance is run";
            match words::lookup(Place::Root, &key.text).filter(|known| known.class == Class::Served)
            {
                Some(known) => {
                    let block = statement.block.as_ref();
                    let item = Item { known, key, args: &statement.words[1..], block };
                    match known.name {
                        "global_defs" => self.globals.push(statement),
                        "vrrp_script" => self.scripts.push(item),
                        "vrrp_sync_group" => self.groups.push(item),
                        "interface_up_down_delays" => self.delays.push(item),
                        _ => self.instances.push(item),
                    }
                }
                None => self.other(ctx, statement, lost),
            }
        }
    }

    /// A word that is not served out here; one that was to be `vrrp_instance` names an instance.
    fn other(&mut self, ctx: &mut Ctx, statement: &'a Statement, lost: &str) {
        let key = &statement.words[0];
        let candidates = words::in_place(Place::Root).map(|known| known.name);
        let unknown = words::anywhere(&key.text).is_none();
        let meant = nearest(&key.text, candidates).filter(|_| unknown);
        if let (Some("vrrp_instance"), Some(name)) = (meant, statement.words.get(1)) {
            let now = format!("{} is not run", shown(&name.text));
            let message = format!("`{}` is not a keyword", shown(&key.text));
            let diag = Diag::error(Code::UnknownWord, key.span.clone(), message).now(now);
            let refusal = ctx.lose(diag.hint("did you mean `vrrp_instance`?"));
            if let Some(known) = words::lookup(Place::Root, "vrrp_instance") {
                let (args, block) = (&statement.words[1..], statement.block.as_ref());
                self.misspelled.push((Item { known, key, args, block }, refusal));
            }
            return;
        }
        // A misspelled `vrrp_script` costs only those who track it: they find no such script.
        let script = meant == Some("vrrp_script");
        let lost = if script { "the script does not exist" } else { lost };
        let list = std::slice::from_ref(statement);
        let (_, refusals) = items::items(ctx, Place::Root, lost, list);
        if !script {
            self.lost.extend(refusals);
        }
    }
}

fn lvs(statement: &Statement) -> Diag {
    let key = &statement.words[0];
    Diag::notice(Code::Lvs, statement.head(), format!("`{}` is about LVS", shown(&key.text)))
        .now("the block is skipped: xvrrp does VRRP, and keepalived (`keepalived -C`) can do LVS beside it")
}

/// The name of a named block, with the faults it can have.
fn block_name(ctx: &mut Ctx, item: &Item<'_>) -> Option<(String, Span)> {
    let Some(name) = item.args.first().filter(|word| !word.text.is_empty()) else {
        let message = format!("`{}` has no name", item.known.name);
        let hint = format!("write `{} NAME {{`", item.known.name);
        let diag = Diag::error(Code::NoValue, item.head(), message);
        ctx.push(diag.now("the block can't be used").hint(hint));
        return None;
    };
    if let Some(extra) = item.args.get(1..).filter(|extra| !extra.is_empty()) {
        let diag = extra_words(extra, &format!("the name is `{}`", shown(&name.text)));
        let slashes = diag.code == Code::SlashComment;
        ctx.push(match item.known.name {
            "vrrp_instance" if !slashes => diag
                .now(format!("it is ignored; the name is `{}`", shown(&name.text)))
                .hint("leave it out: keepalived does not run an instance with more words"),
            _ => diag,
        });
    }
    Some((name.text.clone(), name.span.clone()))
}

/// Words where none are expected. What begins with `//` was meant as a comment.
fn extra_words(extra: &[Word], now: &str) -> Diag {
    let first = &extra[0];
    if first.text.starts_with("//") && !first.quoted {
        return Diag::warning(Code::SlashComment, span_of(extra), "`//` does not start a comment")
            .now(format!("the rest of the line is skipped; {now}"))
            .hint("comments start with `#` or `!`");
    }
    Diag::warning(Code::ExtraWords, span_of(extra), "nothing is expected here")
        .now(format!("it is ignored, as in keepalived; {now}"))
}

#[cfg(test)]
mod tests;
