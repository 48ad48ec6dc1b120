//! `notify` and its kin, of instances and of sync groups.

use super::super::model::{Notify, Removed};
use super::items::{Item, first_counts};
use super::strict::Places;
use super::{Ctx, command};

/// What comes of a command that is none.
const NOT_RUN: &str = "no command is run for it";

/// Takes a statement that names a command; says whether it is one. `places`: where each keyword is written
/// first.
pub(super) fn take(ctx: &mut Ctx, notify: &mut Notify, places: &Places, item: &Item<'_>) -> bool {
    let slot = match item.known.name {
        "notify" => &mut notify.any,
        "notify_master" => &mut notify.master,
        "notify_backup" => &mut notify.backup,
        "notify_fault" => &mut notify.fault,
        "notify_stop" => &mut notify.stop,
        "notify_deleted" => {
            deleted(ctx, notify, places, item);
            return true;
        }
        _ => return false,
    };
    match command::notify(ctx, item.args) {
        Ok(command) => match slot {
            Some(first) => ctx.push(first_counts(item, first.span.clone())),
            None => *slot = Some(command),
        },
        Err(diag) => ctx.push(diag.now(NOT_RUN)),
    }
    true
}

/// Says something without a command, too.
fn deleted(ctx: &mut Ctx, notify: &mut Notify, places: &Places, item: &Item<'_>) {
    if notify.removed != Removed::Fault {
        let before = places.get(item.known.name).cloned().unwrap_or_else(|| item.head());
        ctx.push(first_counts(item, before));
        return;
    }
    let command = (!item.args.is_empty()).then(|| command::notify(ctx, item.args)).transpose();
    notify.removed = Removed::Deleted(command.unwrap_or_else(|diag| {
        ctx.push(diag.now(NOT_RUN));
        None
    }));
}
