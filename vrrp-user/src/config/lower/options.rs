//! Settings of an instance that `global_defs` gives defaults for, under the same name behind `vrrp_`.

use vrrp_common::wire::ChecksumForm;

use super::super::suggest::{nearest, shown};
use super::super::value::{Bad, integer, switch};
use super::Ctx;
use super::items::{Item, bad_value, first};

/// What is written of them, in one place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// `vrrp_strict`, `strict_mode`.
    pub(super) strict: Option<bool>,
    /// `check_unicast_src`.
    pub(super) check_source: Option<bool>,
    /// `skip_check_adv_addr`.
    pub(super) skip_check_adv_addr: Option<bool>,
    /// `vip_mismatch`: `drop` is true.
    pub(super) same_addresses: Option<bool>,
    /// `owner_ignore_adverts`.
    pub(super) owner_ignore_adverts: Option<bool>,
    /// `down_timer_adverts`.
    pub(super) down_timer_adverts: Option<u8>,
    /// `lower_prio_no_advert`.
    pub(super) lower_prio_no_advert: Option<bool>,
    /// `higher_prio_send_advert`.
    pub(super) higher_prio_send_advert: Option<bool>,
    /// `v3_checksum_as_v2`: a checksum over the message alone is true.
    pub(super) message_only: Option<bool>,
}

impl Options {
    /// Takes one of the keywords; says whether it was one.
    ///
    /// # Errors
    /// A bad value of a keyword that an instance depends on. Of the others it is reported, and the
    /// default is used.
    pub(super) fn take(&mut self, ctx: &mut Ctx, item: &Item<'_>) -> Result<bool, Bad> {
        let name = item.known.name;
        let slot = match name.strip_prefix("vrrp_").unwrap_or(name) {
            "strict" | "strict_mode" => &mut self.strict,
            "check_unicast_src" => &mut self.check_source,
            "skip_check_adv_addr" => &mut self.skip_check_adv_addr,
            "owner_ignore_adverts" => &mut self.owner_ignore_adverts,
            "lower_prio_no_advert" => &mut self.lower_prio_no_advert,
            "higher_prio_send_advert" => &mut self.higher_prio_send_advert,
            "v3_checksum_as_v2" => &mut self.message_only,
            "vip_mismatch" => {
                keep(ctx, &mut self.same_addresses, item, mismatch(item))?;
                return Ok(true);
            }
            "down_timer_adverts" => {
                let number = integer(first(item), 1..=100);
                let number = number.map(|number| number.unsigned_abs() as u8);
                keep(ctx, &mut self.down_timer_adverts, item, number)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        keep(ctx, slot, item, switch(item.args.first()))?;
        Ok(true)
    }

    /// What is written here, else there.
    pub(super) fn or(self, there: &Self) -> Self {
        Self {
            strict: self.strict.or(there.strict),
            check_source: self.check_source.or(there.check_source),
            skip_check_adv_addr: self.skip_check_adv_addr.or(there.skip_check_adv_addr),
            same_addresses: self.same_addresses.or(there.same_addresses),
            owner_ignore_adverts: self.owner_ignore_adverts.or(there.owner_ignore_adverts),
            down_timer_adverts: self.down_timer_adverts.or(there.down_timer_adverts),
            lower_prio_no_advert: self.lower_prio_no_advert.or(there.lower_prio_no_advert),
            higher_prio_send_advert: self.higher_prio_send_advert.or(there.higher_prio_send_advert),
            message_only: self.message_only.or(there.message_only),
        }
    }

    /// The checksum to send in VRRPv3 over IPv4: keepalived's form unless said otherwise.
    pub(super) fn form(&self) -> ChecksumForm {
        match self.message_only {
            Some(true) => ChecksumForm::Message,
            Some(false) | None => ChecksumForm::PseudoHeader,
        }
    }
}

/// Keeps a value. One that is none is an error of the instance where it depends on the keyword.
fn keep<T>(
    ctx: &mut Ctx,
    slot: &mut Option<T>,
    item: &Item<'_>,
    value: Result<T, Bad>,
) -> Result<(), Bad> {
    match value {
        Ok(value) => *slot = Some(value),
        Err(bad) if item.known.vital => return Err(bad),
        Err(bad) => ctx.push(bad_value(item, bad).now("the line is ignored")),
    }
    Ok(())
}

/// `accept` or `drop`.
fn mismatch(item: &Item<'_>) -> Result<bool, Bad> {
    let text = first(item).text.as_str();
    match text {
        "drop" => Ok(true),
        "accept" => Ok(false),
        other => {
            let bad = Bad::new(format!("`{}` is neither `accept` nor `drop`", shown(other)));
            let near = nearest(other, ["accept", "drop"].into_iter());
            Err(bad.hint(near.map_or_else(
                || "write `accept`, or `drop` to refuse adverts with other addresses".to_owned(),
                |near| format!("did you mean `{near}`?"),
            )))
        }
    }
}
