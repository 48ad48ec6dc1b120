//! `vrrp_sync_group`: instances that change their state together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::ast::{Statement, Word};
use super::super::diag::{Code, Diag};
use super::super::model::{Notify, Span, SyncGroup, Tracked};
use super::super::suggest::{nearest, shown};
use super::super::words::{self, Place};
use super::delays::LinkDelays;
use super::instance::Lowered;
use super::items::{Item, flaw_diag, flawed_words, items};
use super::script::Scripts;
use super::strict::Places;
use super::{Ctx, Refusal, block_name, extra_words, notify, track};

/// A block, read.
pub(super) struct Group {
    name: String,
    span: Span,
    /// Each instance once, and no instance of another group.
    members: Vec<(String, Span)>,
    /// The same by their names.
    names: BTreeMap<String, Span>,
    notify: Notify,
    /// `sync_group_tracking_weight`: members keep their own trackers with weights.
    weights: bool,
    scripts: Vec<Tracked>,
    interfaces: Vec<Tracked>,
    /// Why its members are not run; empty if they are.
    refusals: Vec<Refusal>,
}

/// What a file says beside its groups.
#[derive(Clone, Copy)]
pub(super) struct Around<'c> {
    /// The `vrrp_script` blocks.
    pub(super) scripts: &'c Scripts,
    /// `interface_up_down_delays`.
    pub(super) delays: &'c LinkDelays,
    /// The names of the instances.
    pub(super) instances: &'c BTreeSet<&'c str>,
}

/// Reads the blocks.
pub(super) fn lower(ctx: &mut Ctx, blocks: &[Item<'_>], around: Around<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut named: BTreeMap<String, Span> = BTreeMap::new();
    let mut taken: BTreeMap<String, (String, Span)> = BTreeMap::new();
    // keepalived removes one without members, as templates make them.
    for block in blocks.iter().filter(|block| !block.statements().is_empty()) {
        let mut group = Reader::read(ctx, block, around);
        if let Some(first) = named.get(&group.name) {
            let message = format!("there are two sync groups named `{}`", shown(&group.name));
            let diag = Diag::error(Code::Twice, group.span.clone(), message);
            let diag = diag.now("the second one's members are not run");
            let diag = diag.hint("give it another name").also(first.clone(), "the first one");
            group.refusals.push(ctx.lose(diag));
        } else {
            named.insert(group.name.clone(), group.span.clone());
        }
        group.names.clear();
        for (name, span) in std::mem::take(&mut group.members) {
            match taken.get(&name) {
                Some((by, first)) => {
                    let message = format!("`{}` is in {} already", shown(&name), shown(by));
                    let diag = Diag::warning(Code::Twice, span, message)
                        .now("it is left out here, as in keepalived")
                        .hint("an instance can be in one sync group")
                        .also(first.clone(), "the first one");
                    ctx.push(diag);
                }
                None => {
                    taken.insert(name.clone(), (group.name.clone(), span.clone()));
                    group.add(&name, span);
                }
            }
        }
        count(ctx, &group);
        groups.push(group);
    }
    groups
}

/// Says what is odd about how many members there are.
fn count(ctx: &mut Ctx, group: &Group) {
    if !group.refusals.is_empty() {
        return;
    }
    let (message, now) = match group.members.len() {
        0 => ("names no instance", "it is left out, as in keepalived"),
        1 => ("names one instance alone", "it changes nothing but who is told"),
        _ => return,
    };
    let message = format!("sync group {} {message}", shown(&group.name));
    let diag = Diag::warning(Code::Missing, group.span.clone(), message).now(now);
    ctx.push(diag.hint("write the instances that change their state together into `group { }`"));
}

/// Reads one block.
struct Reader<'c, 'a> {
    ctx: &'c mut Ctx,
    around: Around<'a>,
    lost: String,
    group: Group,
    places: Places,
}

impl Reader<'_, '_> {
    fn read(ctx: &mut Ctx, block: &Item<'_>, around: Around<'_>) -> Group {
        let named = block_name(ctx, block);
        let unnamed = Refusal { word: "", reason: "its sync group has no name".to_owned() };
        let refusals = if named.is_some() { Vec::new() } else { vec![unnamed] };
        let (name, span) =
            named.unwrap_or_else(|| ("(unnamed)".to_owned(), block.key.span.clone()));
        let lost = format!("the members of {} are not run", shown(&name));
        let group = Group {
            name,
            span,
            members: Vec::new(),
            names: BTreeMap::new(),
            notify: Notify::default(),
            weights: false,
            scripts: Vec::new(),
            interfaces: Vec::new(),
            refusals,
        };
        let mut reader = Reader { ctx, around, lost, group, places: Places::new() };
        for statement in block.statements() {
            reader.statement(statement);
        }
        reader.group
    }

    fn statement(&mut self, statement: &Statement) {
        if let Some(name) = self.old_form(statement) {
            let message = format!("`{}` stands outside `group {{ }}`", shown(&name.text));
            let diag = Diag::warning(Code::WrongPlace, name.span.clone(), message);
            let now = "it is read as a member; keepalived would not know the word";
            self.ctx.push(diag.now(now).hint("put it inside `group { }`"));
            self.member(name);
            return;
        }
        let one = std::slice::from_ref(statement);
        let (items, refusals) = items(self.ctx, Place::SyncGroup, &self.lost, one);
        if !refusals.is_empty() {
            self.group.refusals.extend(refusals);
            self.presume(statement);
        }
        for item in &items {
            self.take(item);
        }
    }

    /// An instance's name on a line of its own: how keepalived once was told the members.
    fn old_form<'s>(&self, statement: &'s Statement) -> Option<&'s Word> {
        let [name] = &statement.words[..] else { return None };
        let is_member = statement.block.is_none()
            && words::lookup(Place::SyncGroup, &name.text).is_none()
            && self.around.instances.contains(name.text.as_str());
        is_member.then_some(name)
    }

    fn take(&mut self, item: &Item<'_>) {
        let first = self.places.entry(item.known.name).or_insert_with(|| item.head()).clone();
        if notify::take(self.ctx, &mut self.group.notify, &self.places, item) {
            return;
        }
        match item.known.name {
            "group" => {
                if first != item.head() {
                    let message = "`group` is written twice";
                    let diag = Diag::warning(Code::Twice, item.head(), message)
                        .also(first, "the first one");
                    let now =
                        "its members are taken in, too; keepalived knows those of the first alone";
                    self.ctx.push(diag.now(now).hint("write all members into one"));
                }
                self.members(item);
            }
            "track_script" => {
                let (tracked, lost) =
                    track::scripts(self.ctx, item, self.around.scripts, &self.lost);
                self.group.scripts.extend(tracked);
                self.group.refusals.extend(lost);
            }
            "track_interface" => {
                let (tracked, lost) =
                    track::interfaces(self.ctx, item, self.around.delays, &self.lost);
                self.group.interfaces.extend(tracked);
                self.group.refusals.extend(lost);
            }
            "sync_group_tracking_weight" => self.group.weights = true,
            "global_tracking" => {
                self.group.weights = true;
                let message = "`global_tracking` is an old word";
                let diag = Diag::warning(Code::Changed, item.head(), message);
                let now = "it is read as `sync_group_tracking_weight`, as in keepalived";
                let hint = "track in the sync group what all members depend on";
                self.ctx.push(diag.now(now).hint(hint));
            }
            _ => {}
        }
    }

    /// The names in `group { }`, on one line or more.
    fn members(&mut self, item: &Item<'_>) {
        for statement in item.statements() {
            if statement.block.is_some() {
                let message = "a block inside `group`";
                let diag = Diag::error(Code::Brace, statement.head(), message);
                self.lose(diag.hint("only names stand here: look at the braces above"));
                self.presume(statement);
                continue;
            }
            if let Some((word, flaw)) = flawed_words(&statement.words) {
                self.lose(flaw_diag(word, flaw));
                self.presume(statement);
                continue;
            }
            for (at, word) in statement.words.iter().enumerate() {
                if word.text.starts_with("//") {
                    self.ctx.push(extra_words(&statement.words[at..], "no member is read from it"));
                    break;
                }
                self.member(word);
            }
        }
    }

    fn member(&mut self, word: &Word) {
        if !self.around.instances.contains(word.text.as_str()) {
            let message = format!("there is no `vrrp_instance {}` in the file", shown(&word.text));
            let near = nearest(&word.text, self.around.instances.iter().copied());
            let hint = near.map(|near| format!("did you mean `{}`?", shown(near)));
            let diag = Diag::warning(Code::UnknownName, word.span.clone(), message);
            self.ctx.push(diag.now("it is left out, as in keepalived").hint_if(hint));
            return;
        }
        if let Some(first) = self.group.names.get(&word.text) {
            let message = format!("`{}` is written twice", shown(&word.text));
            let diag = Diag::warning(Code::Twice, word.span.clone(), message);
            self.ctx.push(diag.now("once is enough").also(first.clone(), "the first one"));
            return;
        }
        self.group.add(&word.text, word.span.clone());
    }

    /// Takes whoever a statement names that can't be used for a member: it may have been meant so.
    fn presume(&mut self, statement: &Statement) {
        for word in &statement.words {
            let known = self.group.names.contains_key(&word.text);
            if !known && self.around.instances.contains(word.text.as_str()) {
                self.group.add(&word.text, word.span.clone());
            }
        }
        for inner in statement.block.iter().flat_map(|block| &block.items) {
            self.presume(inner);
        }
    }

    fn lose(&mut self, diag: Diag) {
        let refusal = self.ctx.lose(diag.now(&*self.lost));
        self.group.refusals.push(refusal);
    }
}

/// Where the instances of each name are.
fn places(lowered: &[Lowered]) -> BTreeMap<String, Vec<usize>> {
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, one) in lowered.iter().enumerate() {
        places.entry(one.name.clone()).or_default().push(at);
    }
    places
}

/// Has the members track what their group tracks, and nothing of their own that moves one priority alone.
pub(super) fn share(ctx: &mut Ctx, groups: &[Group], lowered: &mut [Lowered]) {
    let places = places(lowered);
    for group in groups {
        let mut owners = Vec::new();
        let mut members = 0;
        for at in group.places(&places) {
            let one = &mut lowered[at];
            one.refusals.extend(group.refusals.iter().cloned());
            let Some(instance) = &mut one.instance else { continue };
            members += 1;
            if instance.priority.is_owner() {
                owners.push(shown(&instance.name));
            }
            let (name, scripts) = (&instance.name, &mut instance.track_scripts);
            drop_twice(ctx, name, group, scripts, &group.scripts);
            // As in keepalived: what is a fault of one stays one.
            let interfaces = &mut instance.track_interfaces;
            let is_fault = |one: &Tracked| one.weight.value == 0;
            let faults: Vec<Tracked> = interfaces.extract_if(.., |one| is_fault(one)).collect();
            drop_twice(ctx, name, group, interfaces, &group.interfaces);
            drop_weighted(ctx, name, group, scripts);
            drop_weighted(ctx, name, group, interfaces);
            scripts.extend(group.scripts.iter().cloned());
            // Its own interface is tracked by itself, or on purpose not at all.
            let shared = group.interfaces.iter().filter(|one| one.name != instance.interface);
            let is_new = |one: &&Tracked| faults.iter().all(|fault| fault.name != one.name);
            interfaces.extend(shared.filter(is_new).cloned());
            interfaces.extend(faults);
        }
        if !owners.is_empty() && owners.len() < members {
            let message = format!(
                "sync group {} has members with priority 255 and others",
                shown(&group.name)
            );
            let diag = Diag::warning(Code::Conflict, group.span.clone(), message);
            let now = format!("{} waits until the others have listened", owners.join(", "));
            ctx.push(diag.now(now).hint("give all of them priority 255, or none"));
        }
    }
}

/// Takes out of a member's own trackers what its group tracks too.
fn drop_twice(
    ctx: &mut Ctx,
    name: &str,
    group: &Group,
    own: &mut Vec<Tracked>,
    shared: &[Tracked],
) {
    for twice in own.extract_if(.., |one| shared.iter().any(|other| other.name == one.name)) {
        let message = format!(
            "`{}` is tracked by {} and by its sync group {}",
            shown(&twice.name),
            shown(name),
            shown(&group.name)
        );
        let diag = Diag::warning(Code::Twice, twice.span, message);
        let hint = "leave it out of one of the two";
        ctx.push(diag.now("what the group says counts, as in keepalived").hint(hint));
    }
}

/// Takes out of a member's own trackers what moves its priority alone.
fn drop_weighted(ctx: &mut Ctx, name: &str, group: &Group, own: &mut Vec<Tracked>) {
    for weighted in own.extract_if(.., |one| one.weight.value != 0 && !group.weights) {
        let message = format!(
            "`{}` has a weight, and {} is in sync group {}",
            shown(&weighted.name),
            shown(name),
            shown(&group.name)
        );
        let diag = Diag::warning(Code::Conflict, weighted.span, message);
        let hint = "track it in the sync group, so that the priorities of all move alike";
        ctx.push(diag.now("it is not tracked, as in keepalived").hint(hint));
    }
}

/// Refuses the members of a group that is not complete: moving alone what was to move together is worse
/// than not moving. Returns the groups that are.
pub(super) fn settle(groups: Vec<Group>, lowered: &mut [Lowered]) -> Vec<Arc<SyncGroup>> {
    let mut whole = Vec::new();
    let places = places(lowered);
    for group in groups {
        let is_lost = |one: &&Lowered| one.instance.is_none() || !one.refusals.is_empty();
        let lost = group.places(&places).map(|at| &lowered[at]).find(is_lost);
        let lost = lost.map(|one| one.name.clone());
        if let Some(lost) = &lost {
            let reason = format!(
                "{}, which is in sync group {} too, is not run",
                shown(lost),
                shown(&group.name)
            );
            for at in group.places(&places) {
                let one = &mut lowered[at];
                if one.instance.is_some() && one.refusals.is_empty() {
                    one.refusals.push(Refusal { word: "", reason: reason.clone() });
                }
            }
        }
        if lost.is_none() && !group.members.is_empty() {
            let members = group.members.into_iter().map(|(name, _)| name).collect();
            let Group { name, span, notify, .. } = group;
            whole.push(Arc::new(SyncGroup { name, members, notify, span }));
        }
    }
    whole
}

impl Group {
    fn add(&mut self, name: &str, span: Span) {
        self.names.insert(name.to_owned(), span.clone());
        self.members.push((name.to_owned(), span));
    }

    /// Where its members are among the instances.
    fn places<'p>(
        &'p self,
        places: &'p BTreeMap<String, Vec<usize>>,
    ) -> impl Iterator<Item = usize> {
        let its = self.members.iter().filter_map(|(name, _)| places.get(name));
        its.flatten().copied()
    }
}
