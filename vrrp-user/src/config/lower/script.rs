//! `vrrp_script`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ast::Word;
use super::super::diag::{Code, Diag};
use super::super::model::{Command, Script, Span, Weight};
use super::super::suggest::shown;
use super::super::value::{Bad, integer, said, seconds};
use super::super::words::Place;
use super::items::{Item, bad_value, first, items, set};
use super::{Ctx, Refusal, block_name, command};

/// The longest interval keepalived takes, in seconds.
const LONGEST: u64 = 4294;

/// The scripts by name: usable, or why not.
pub(super) type Scripts = BTreeMap<String, Result<Script, Refusal>>;

/// Lowers all `vrrp_script` blocks.
pub(super) fn lower(ctx: &mut Ctx, blocks: &[Item<'_>]) -> Scripts {
    let mut scripts = Scripts::new();
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    for block in blocks {
        let Some((name, span)) = block_name(ctx, block) else { continue };
        let script = one(ctx, block, &name, span.clone());
        if let Some(before) = places.get(&name) {
            let message = format!("there are two scripts named `{}`", shown(&name));
            ctx.push(
                Diag::error(Code::Twice, span, message)
                    .now("the first one counts")
                    .also(before.clone(), "the first one"),
            );
            continue;
        }
        places.insert(name.clone(), span);
        scripts.insert(name, script);
    }
    scripts
}

/// What a block says so far.
#[derive(Default)]
struct Draft {
    command: Option<(Command, Span)>,
    interval: Option<(Duration, Span)>,
    timeout: Option<(Duration, Span)>,
    weight: Option<(Weight, Span)>,
    rise: Option<(u32, Span)>,
    fall: Option<(u32, Span)>,
    user: Option<(Option<super::super::model::UserSpec>, Span)>,
    init_fail: bool,
}

fn one(ctx: &mut Ctx, block: &Item<'_>, name: &str, span: Span) -> Result<Script, Refusal> {
    let lost = format!("instances that track {} are not run", shown(name));
    let (items, mut refusals) = items(ctx, Place::Script, &lost, block.statements());
    let mut draft = Draft::default();
    for item in &items {
        refusals.extend(draft.take(ctx, item, &lost));
    }
    if draft.command.is_none() && refusals.is_empty() {
        let message = format!("`vrrp_script {}` has no `script`", shown(name));
        let diag = Diag::error(Code::Missing, span.clone(), message).now(&*lost);
        refusals.push(ctx.lose(diag.hint("write `script \"/path/of/the/check\"`")));
    }
    if let Some(refusal) = refusals.into_iter().next() {
        return Err(refusal);
    }
    let Some((mut command, _)) = draft.command else {
        return Err(Refusal { word: "", reason: format!("`{}` has no command", shown(name)) });
    };
    command.user = draft.user.and_then(|(user, _)| user);
    let interval = draft.interval.map_or(Duration::from_secs(1), |(time, _)| time);
    let times = |count: Option<(u32, Span)>| count.map_or(1, |(count, _)| count);
    Ok(Script {
        name: name.to_owned(),
        command,
        interval,
        timeout: draft.timeout.map_or(interval, |(time, _)| time),
        weight: draft.weight.map(|(weight, _)| weight).unwrap_or_default(),
        rise: times(draft.rise),
        fall: times(draft.fall),
        init_fail: draft.init_fail,
        span,
    })
}

impl Draft {
    /// Takes one statement. Returns what a fault in it costs.
    fn take(&mut self, ctx: &mut Ctx, item: &Item<'_>, lost: &str) -> Option<Refusal> {
        match item.known.name {
            "script" => match command::script(ctx, item.args) {
                Ok(command) => set(ctx, &mut self.command, command, item),
                Err(diag) => return Some(ctx.lose(diag.now(lost))),
            },
            "weight" => match weight(item.args) {
                Ok(weight) => set(ctx, &mut self.weight, weight, item),
                Err(bad) => return Some(ctx.lose(bad_value(item, bad).now(lost))),
            },
            "interval" => time(ctx, &mut self.interval, item, "the script runs every 1 s"),
            "timeout" => time(ctx, &mut self.timeout, item, "a run may take as long as `interval`"),
            "rise" => count(ctx, &mut self.rise, item),
            "fall" => count(ctx, &mut self.fall, item),
            "user" => set(ctx, &mut self.user, command::user(item.args), item),
            "init_fail" => self.init_fail = true,
            _ => {}
        }
        None
    }
}

fn time(ctx: &mut Ctx, slot: &mut Option<(Duration, Span)>, item: &Item<'_>, now: &str) {
    let least = Duration::from_millis(1);
    let read = seconds(first(item), LONGEST).and_then(|time| {
        let short = Bad::new(format!("{} is less than {}", said(time), said(least)));
        if time < least { Err(short) } else { Ok(time) }
    });
    match read {
        Ok(time) => set(ctx, slot, time, item),
        Err(bad) => ctx.push(bad_value(item, bad).now(now)),
    }
}

fn count(ctx: &mut Ctx, slot: &mut Option<(u32, Span)>, item: &Item<'_>) {
    match integer(first(item), 1..=i64::from(i32::MAX)) {
        Ok(count) => set(ctx, slot, count.unsigned_abs() as u32, item),
        Err(bad) => ctx.push(bad_value(item, bad).now("one result is enough")),
    }
}

/// `W`, `W reverse` or `W noreverse`.
pub(super) fn weight(words: &[Word]) -> Result<Weight, Bad> {
    let [value, rest @ ..] = words else {
        return Err(Bad::new("the weight is missing").hint("write a number from -253 to 253"));
    };
    let value = integer(value, -253..=253)?;
    let reverse = match rest.first().map(|word| word.text.as_str()) {
        None | Some("noreverse") => false,
        Some("reverse") => true,
        Some(text) if text.starts_with("//") => false,
        Some(other) => {
            return Err(Bad::new(format!("`{}` follows the weight", shown(other)))
                .hint("only `reverse` or `noreverse` can follow"));
        }
    };
    Ok(Weight { value: i16::try_from(value).unwrap_or_default(), reverse })
}
