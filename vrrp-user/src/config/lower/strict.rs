//! `vrrp_strict` and `strict_mode`: what the RFCs don't know is dropped, one message each.

use std::collections::BTreeMap;
use std::time::Duration;

use vrrp_common::Version;
use vrrp_common::time::DOWN_ADVERTS;

use super::super::diag::{Code, Diag};
use super::super::model::{Destination, Instance, OwnLink, OwnLinkKind, Span};
use super::super::suggest::shown;
use super::super::value::said;
use super::options::Options;

/// Where the keywords are written.
pub(super) type Places = BTreeMap<&'static str, Span>;

/// Makes an instance strict. Its `state` and `authentication` have been dealt with where they are read.
///
/// `own` and `global` know the places of the instance's keywords and of those in `global_defs`. Nothing that
/// is returned costs the instance: keepalived runs it, too.
pub(super) fn apply(
    instance: &mut Instance,
    written: &Options,
    own: &Places,
    global: &Places,
) -> Vec<Diag> {
    let mut strict = Strict { own, global, diags: Vec::new() };
    strict.destination();
    strict.addresses(instance, written);
    strict.timers(instance);
    strict.adverts(instance, written);
    strict.accept(instance);
    let own = instance.vrid.mac(instance.family).octets();
    let unicast = matches!(instance.destination, Destination::Peers(_));
    if let Some(link) = &mut instance.own_link {
        strict.own_link(link, own, unicast);
    }
    strict.diags
}

struct Strict<'p> {
    own: &'p Places,
    global: &'p Places,
    diags: Vec<Diag>,
}

impl Strict<'_> {
    /// Says that a keyword is dropped, where it is written: in the instance, else in `global_defs`.
    fn drop(&mut self, word: &str, message: &str, now: String) {
        let global = format!("vrrp_{word}");
        let (word, span) = match (self.own.get(word), self.global.get(&*global)) {
            (Some(span), _) => (word, span.clone()),
            (None, Some(span)) => (&*global, span.clone()),
            (None, None) => return,
        };
        let diag = Diag::warning(Code::Conflict, span, format!("`{word}`: {message}"));
        self.diags.push(diag.now(now).hint("leave it out, or take strict mode out on all routers"));
    }

    /// RFC 9568 §7.2: adverts go to the group. keepalived's manual says that it does not run such an
    /// instance, but 2.2.7 looks before it knows that there are peers, and runs it.
    fn destination(&mut self) {
        if let Some(span) = self.own.get("unicast_peer") {
            let message = "strict mode has no unicast";
            let diag = Diag::warning(Code::Conflict, span.clone(), message);
            let now = "adverts go to the peers all the same, as in keepalived 2.2";
            self.diags.push(diag.now(now).hint("take `unicast_peer` or strict mode out"));
        }
    }

    /// RFC 3768 §7.1.
    fn addresses(&mut self, instance: &mut Instance, written: &Options) {
        instance.same_addresses = true;
        if written.same_addresses == Some(false) {
            let now = "adverts with other addresses are refused".to_owned();
            self.drop("vip_mismatch", "strict mode wants the same addresses on all routers", now);
        }
    }

    fn timers(&mut self, instance: &mut Instance) {
        if !instance.preempt_delay.is_zero() {
            instance.preempt_delay = Duration::ZERO;
            let now = "it takes the addresses back without a delay, as in keepalived".to_owned();
            self.drop("preempt_delay", "strict mode has no such delay", now);
        }
        if instance.down_timer_adverts != DOWN_ADVERTS {
            instance.down_timer_adverts = DOWN_ADVERTS;
            let now = format!("it waits for {DOWN_ADVERTS} adverts");
            let message = format!("strict mode waits for {DOWN_ADVERTS}");
            self.drop("down_timer_adverts", &message, now);
        }
    }

    /// What is sent beside the adverts that are due. What `global_defs` says of it is for the others.
    fn adverts(&mut self, instance: &mut Instance, written: &Options) {
        if instance.announce.lower_repeat > 0 && self.own.contains_key("garp_lower_prio_repeat") {
            let now = "nothing is announced after an advert of lower priority".to_owned();
            self.drop("garp_lower_prio_repeat", "strict mode repeats no announcement", now);
        }
        let delay = instance.announce.lower_delay;
        if !delay.is_zero() && self.own.contains_key("garp_lower_prio_delay") {
            let message = format!("strict mode repeats no announcement after {}", said(delay));
            let now = "nothing is announced after an advert of lower priority".to_owned();
            self.drop("garp_lower_prio_delay", &message, now);
        }
        instance.announce.lower_repeat = 0;
        instance.announce.lower_delay = Duration::ZERO;
        if written.lower_prio_no_advert == Some(false) {
            let now = "an advert of lower priority is not answered".to_owned();
            self.drop("lower_prio_no_advert", "strict mode does not answer", now);
        }
        instance.lower_prio_no_advert = true;
        if written.higher_prio_send_advert == Some(true) {
            let now = "it yields without another advert".to_owned();
            self.drop("higher_prio_send_advert", "strict mode yields in silence", now);
        }
        instance.higher_prio_send_advert = false;
    }

    /// RFC 3768 §6.4.3 has no Accept_Mode; RFC 9568 §6.1 has.
    fn accept(&mut self, instance: &mut Instance) {
        let owner = instance.priority.is_owner();
        if instance.accept && !owner && instance.version == Version::V2 {
            instance.accept = false;
            let now = "the addresses answer to nobody, ping included".to_owned();
            self.drop("accept", "strict mode has it in version 3 only", now);
        }
    }

    /// Unicast leaves by the interface below, whatever is written.
    fn own_link(&mut self, link: &mut OwnLink, own: [u8; 6], unicast: bool) {
        if let OwnLinkKind::Macvlan(mac) = &mut link.kind
            && *mac != own
        {
            let text: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            let message =
                format!("strict mode has no MAC address of one's own ({})", text.join(":"));
            *mac = own;
            self.drop("use_vmac", &message, "the virtual router's is used".to_owned());
        }
        if link.send_on_base && !unicast {
            link.send_on_base = false;
            let message = "strict mode sends from the virtual MAC address";
            let now = format!("adverts leave by {}", shown(&link.name));
            let now = if link.name.is_empty() { "adverts leave by it".to_owned() } else { now };
            self.drop("vmac_xmit_base", message, now);
        }
    }
}
