//! The keywords of `global_defs` that say how the daemon is scheduled.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::model::Scheduling;
use super::super::value::{Bad, CPUS, integer};
use super::Ctx;
use super::global::flag;
use super::items::{Item, bad_value, first};

/// A limit of less than a millisecond would end the daemon at the first tick of the kernel's clock that
/// finds it at work; the longest is keepalived's.
const MICROSECONDS: RangeInclusive<i64> = 1000..=4_294_967_295;

/// Takes a keyword, where it is one of these.
pub(super) fn take(ctx: &mut Ctx, scheduling: &mut Scheduling, item: &Item<'_>) {
    match item.known.name {
        "vrrp_rt_priority" => match integer(first(item), 0..=99) {
            // keepalived knows no word for "not", its default; 0 is ours.
            Ok(priority) => {
                scheduling.real_time = u8::try_from(priority).ok().filter(|level| *level > 0);
            }
            Err(bad) => {
                let bad = bad.hint("write a priority from 1 to 99, or 0 for ordinary scheduling");
                let now = scheduling.real_time.map_or_else(
                    || "scheduling stays ordinary".to_owned(),
                    |level| format!("it stays {level}"),
                );
                ctx.push(bad_value(item, bad).now(now));
            }
        },
        "vrrp_priority" => match integer(first(item), -20..=19) {
            Ok(nice) => scheduling.nice = i8::try_from(nice).ok(),
            Err(bad) => ctx.push(bad_value(item, bad).now("the nice value stays as it is")),
        },
        "vrrp_no_swap" => flag(ctx, &mut scheduling.lock_memory, item),
        "vrrp_cpu_affinity" => match cpus(item) {
            Ok(cpus) => scheduling.cpus = cpus,
            Err(bad) => ctx.push(bad_value(item, bad).now("all CPUs are used")),
        },
        "vrrp_rlimit_rttime" | "vrrp_rlimit_rtime" => match integer(first(item), MICROSECONDS) {
            Ok(limit) => {
                scheduling.cpu_limit = Some(Duration::from_micros(limit.unsigned_abs()));
            }
            Err(bad) => {
                let bad = bad.hint("write microseconds, 1000 at least");
                ctx.push(bad_value(item, bad).now("there is no limit"));
            }
        },
        _ => {}
    }
}

/// The numbers of CPUs, each once and in order.
fn cpus(item: &Item<'_>) -> Result<Vec<usize>, Bad> {
    let most = CPUS as i64 - 1;
    let numbers = item.args.iter().map(|word| integer(word, 0..=most));
    let mut cpus = numbers
        .map(|number| number.map(|number| number.unsigned_abs() as usize))
        .collect::<Result<Vec<_>, _>>()?;
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}
