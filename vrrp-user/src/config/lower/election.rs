//! How an instance takes part in the election: version, interval, priority, preemption.

use std::time::Duration;

use vrrp_common::time::CENTISECOND;
use vrrp_common::{Family, Interval, Priority, Version};

use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::super::suggest::shown;
use super::super::value::{Bad, said, seconds};
use super::draft::Draft;
use super::instance::Maker;
use super::items::{bad_value, first};

impl Maker<'_> {
    pub(super) fn version(&mut self, draft: &mut Draft<'_>, family: Family) -> Version {
        let said = draft.version.clone();
        match (family, said) {
            (Family::V6, Some((Version::V2, span))) => {
                let message = "VRRP version 2 has no IPv6";
                let hint = "write `version 3`";
                if self.strict() {
                    let diag = Diag::warning(Code::Conflict, span, message).hint(hint);
                    self.ctx.push(diag.now("it speaks version 3, as keepalived in strict mode"));
                } else {
                    // keepalived speaks a version 2 over IPv6 that no RFC knows: to speak another one
                    // beside it would make two MASTERs.
                    self.lose(draft, Diag::error(Code::Conflict, span, message).hint(hint));
                }
                Version::V3
            }
            (Family::V6, _) => Version::V3,
            (Family::V4, Some((version, _))) => version,
            (Family::V4, None) => self.common.global.version,
        }
    }

    /// `advert_int`: whole seconds in version 2 (RFC 3768 §5.3.7), 10 ms steps in version 3. What
    /// can't be sent is rounded and cut as keepalived does it, and never to 0.
    pub(super) fn interval(&mut self, draft: &Draft<'_>, version: Version) -> Interval {
        let second = Duration::from_secs(1);
        let Some((item, _)) = &draft.advert_int else { return Interval::DEFAULT };
        let (step, longest) = match version {
            Version::V2 => (second, Duration::from_secs(255)),
            Version::V3 => (CENTISECOND, CENTISECOND * 4095),
        };
        let read = seconds(first(item), 255).and_then(|time| {
            let bad = || Bad::new(format!("{} is too short", said(time)));
            if time < CENTISECOND { Err(bad()) } else { Ok(time) }
        });
        let time = match read {
            Ok(time) => time,
            Err(mut bad) => {
                let range = match version {
                    Version::V2 => "version 2 takes whole seconds from 1 to 255",
                    Version::V3 => "version 3 takes 0.01 to 40.95 seconds",
                };
                bad.hint = bad.hint.filter(|hint| !hint.starts_with("write a number from"));
                bad.hint.get_or_insert_with(|| range.to_owned());
                let now = format!("{} advertises every 1 s", shown(&self.name));
                self.ctx.push(bad_value(item, bad).now(now));
                return Interval::DEFAULT;
            }
        };
        let steps = (time + step / 2).as_nanos() / step.as_nanos();
        let rounded = (step * u32::try_from(steps.max(1)).unwrap_or(1)).min(longest);
        if rounded != time {
            let word = first(item);
            let message = format!("version {version} can't say {} in an advert", said(time));
            let diag = Diag::warning(Code::Changed, word.span.clone(), message);
            let diag =
                diag.now(format!("{} advertises every {}", shown(&self.name), said(rounded)));
            let hint = match version {
                Version::V2 => {
                    "version 2 has whole seconds: `version 3` on all peers takes 10 ms steps"
                }
                Version::V3 => "version 3 has steps of 0.01 s, up to 40.95 s",
            };
            self.ctx.push(diag.hint(hint));
        }
        // Between a step and the longest, which is less than what an interval may be.
        Interval::new(rounded).unwrap_or(Interval::DEFAULT)
    }

    /// `state` and `priority`. MASTER without a priority is the owner's 255, as in keepalived.
    pub(super) fn rank(&mut self, draft: &Draft<'_>) -> (bool, Priority) {
        let master = draft.master.clone().filter(|(master, _)| *master);
        let (wants_master, priority) = self.written_rank(draft, master);
        if !self.strict() {
            return (wants_master, priority);
        }
        let (said, owner) = (draft.master.clone(), priority.is_owner());
        if let Some((_, span)) = said.filter(|(master, _)| *master != owner) {
            let (state, other) = if owner { ("BACKUP", "MASTER") } else { ("MASTER", "BACKUP") };
            let message = format!("`state {state}` with priority {priority}, in strict mode");
            let diag = Diag::warning(Code::Conflict, span, message);
            let now = format!("it is {other}, as in keepalived: MASTER is who owns the addresses");
            self.ctx.push(diag.now(now).hint("leave `state` out: the priority decides"));
        }
        (owner, priority)
    }

    fn written_rank(
        &mut self,
        draft: &Draft<'_>,
        master: Option<(bool, Span)>,
    ) -> (bool, Priority) {
        match (&draft.priority, master) {
            // One that is written badly has had its message.
            (None, Some(_)) if self.mentions("priority") => (true, Priority::DEFAULT),
            (None, Some((_, span))) => {
                let message = "`state MASTER` without a `priority`";
                let diag = Diag::warning(Code::Missing, span, message);
                let now = "the priority is 255, the address owner's, as in keepalived";
                self.ctx.push(diag.now(now).hint("write the priority that is meant, 100 say"));
                (true, Priority::OWNER)
            }
            (None, None) => (false, Priority::DEFAULT),
            (Some((priority, _)), master) => (master.is_some(), *priority),
        }
    }

    /// `nopreempt` and `preempt_delay` need a router that starts as BACKUP, as in keepalived.
    pub(super) fn preemption(
        &mut self,
        draft: &mut Draft<'_>,
        master: bool,
        priority: Priority,
    ) -> bool {
        let why = if master {
            "`state MASTER`"
        } else if priority.is_owner() {
            "priority 255"
        } else {
            self.idle_delay(draft);
            return draft.nopreempt.is_none();
        };
        let nopreempt = draft.nopreempt.take().map(|span| (span, "nopreempt"));
        let delay = draft.preempt_delay.take().filter(|(delay, _)| !delay.is_zero());
        let delay = delay.map(|(_, span)| (span, "preempt_delay"));
        for (span, word) in nopreempt.into_iter().chain(delay) {
            let message = format!("`{word}` does not go with {why}");
            let diag = Diag::warning(Code::Conflict, span, message);
            let now = format!(
                "`{word}` is dropped, as in keepalived: it takes the addresses back at once"
            );
            self.ctx.push(
                diag.now(now).hint("write `state BACKUP` on all routers; the priority decides"),
            );
        }
        true
    }

    /// Who replaces no lower MASTER does not wait for that.
    fn idle_delay(&mut self, draft: &mut Draft<'_>) {
        let delayed = draft.preempt_delay.as_ref().is_some_and(|(delay, _)| !delay.is_zero());
        if draft.nopreempt.is_some()
            && delayed
            && let Some((_, span)) = draft.preempt_delay.take()
        {
            let message = "`preempt_delay` does not go with `nopreempt`";
            let diag = Diag::warning(Code::Conflict, span, message);
            let now = "it changes nothing, as in keepalived: a lower MASTER is never replaced";
            self.ctx.push(diag.now(now).hint("leave one of them out"));
        }
    }
}
