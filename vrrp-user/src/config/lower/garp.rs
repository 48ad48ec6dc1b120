//! The `garp_…` keywords, of `global_defs` and of instances.

use std::time::Duration;

use vrrp_proto::settings::Announce;

use super::super::diag::{Code, Diag};
use super::super::model::Elsewhere;
use super::super::suggest::shown;
use super::super::value::{integer, seconds};
use super::Ctx;
use super::items::{Item, bad_value, first};

/// The longest time keepalived takes, in seconds.
pub(super) const LONGEST: u64 = 4294;
/// The longest time between two refreshes: keepalived reads it as an unsigned number.
const LONGEST_REFRESH: u64 = u32::MAX as u64;
/// The longest time between two announcements on other interfaces, in seconds: a day.
const LONGEST_ELSEWHERE: i64 = 86_400;

/// The GARP keywords as far as they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Garp {
    repeat: Option<u32>,
    delay: Option<Duration>,
    refresh: Option<Duration>,
    refresh_repeat: Option<u32>,
    lower_repeat: Option<u32>,
    lower_delay: Option<Duration>,
    /// Zero: not, although `global_defs` says so.
    elsewhere: Option<Elsewhere>,
}

impl Garp {
    /// Takes a `garp_…` or `vrrp_garp_…` keyword; says whether it was one.
    pub(super) fn take(&mut self, ctx: &mut Ctx, item: &Item<'_>) -> bool {
        let name = item.known.name;
        match name.strip_prefix("vrrp_").unwrap_or(name) {
            "garp_master_repeat" => count(ctx, &mut self.repeat, item, 1),
            "garp_master_refresh_repeat" => count(ctx, &mut self.refresh_repeat, item, 1),
            "garp_lower_prio_repeat" => count(ctx, &mut self.lower_repeat, item, 0),
            "garp_master_delay" => time(ctx, &mut self.delay, item, LONGEST),
            "garp_master_refresh" => time(ctx, &mut self.refresh, item, LONGEST_REFRESH),
            "garp_lower_prio_delay" => time(ctx, &mut self.lower_delay, item, LONGEST),
            "garp_extra_if" | "vmac_garp_intvl" => elsewhere(ctx, &mut self.elsewhere, item),
            _ => return false,
        }
        true
    }

    /// `vrrp_min_garp`: one announcement and no second round, where nothing else is written.
    pub(super) fn least(&mut self) {
        self.repeat.get_or_insert(1);
        self.delay.get_or_insert(Duration::ZERO);
    }

    /// The values: written here, else in `global_defs`, else keepalived's. What is not said for
    /// adverts of lower priority is as `global_defs` says for becoming master.
    pub(super) fn resolve(&self, global: &Self) -> Announce {
        let default = Announce::default();
        let repeat = global.repeat.unwrap_or(default.repeat);
        let delay = global.delay.unwrap_or(default.delay);
        let refresh_repeat = global.refresh_repeat.unwrap_or(default.refresh_repeat);
        Announce {
            repeat: self.repeat.unwrap_or(repeat),
            delay: self.delay.unwrap_or(delay),
            refresh: self.refresh.or(global.refresh).unwrap_or(default.refresh),
            refresh_repeat: self.refresh_repeat.unwrap_or(refresh_repeat),
            lower_repeat: self.lower_repeat.or(global.lower_repeat).unwrap_or(repeat),
            lower_delay: self.lower_delay.or(global.lower_delay).unwrap_or(delay),
        }
    }
    /// `garp_extra_if`: written here, else in `global_defs`.
    pub(super) fn elsewhere(&self, global: &Self) -> Option<Elsewhere> {
        self.elsewhere.or(global.elsewhere).filter(|elsewhere| !elsewhere.every.is_zero())
    }
}

/// `[all] SECONDS`.
fn elsewhere(ctx: &mut Ctx, slot: &mut Option<Elsewhere>, item: &Item<'_>) {
    let (all, word) = match item.args {
        [all, word, ..] if all.text == "all" => (true, word),
        [word, extra, ..] => {
            let message = format!("`{}` stands before the seconds", shown(&word.text));
            let diag = Diag::error(Code::BadValue, word.span.clone(), message);
            let hint = format!("write `{} {}`", item.known.name, shown(&extra.text));
            ctx.push(diag.now("the line is ignored").hint(hint));
            return;
        }
        _ => (false, first(item)),
    };
    match integer(word, 0..=LONGEST_ELSEWHERE) {
        Ok(number) => {
            *slot = Some(Elsewhere { every: Duration::from_secs(number.unsigned_abs()), all });
        }
        Err(bad) => ctx.push(bad_value(item, bad).now("the line is ignored")),
    }
}

fn count(ctx: &mut Ctx, slot: &mut Option<u32>, item: &Item<'_>, least: u32) {
    match integer(first(item), 0..=i64::from(i32::MAX)) {
        Ok(number) => {
            let written = number.unsigned_abs() as u32;
            if written < least {
                let message =
                    format!("`{} {written}` is no number of announcements", item.known.name);
                let diag = Diag::warning(Code::BadValue, first(item).span.clone(), message);
                ctx.push(diag.now(format!("it is taken for {least}, as in keepalived")));
            }
            *slot = Some(written.max(least));
        }
        Err(bad) => ctx.push(bad_value(item, bad).now("the default is used")),
    }
}

fn time(ctx: &mut Ctx, slot: &mut Option<Duration>, item: &Item<'_>, longest: u64) {
    match seconds(first(item), longest) {
        Ok(time) => *slot = Some(time),
        Err(bad) => ctx.push(bad_value(item, bad).now("the default is used")),
    }
}
