//! What no block shows alone: two of a kind.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::super::suggest::shown;
use super::Ctx;
use super::instance::Lowered;

/// Compares the instances with each other. Of two that can't both be, the second is not run.
pub(super) fn check(ctx: &mut Ctx, lowered: &mut [Lowered]) {
    let mut seen = Seen::default();
    for one in lowered {
        let lost = format!("the second {} is not run", shown(&one.name));
        let mut faults: Vec<Diag> = Vec::new();
        faults.extend(seen.name(one).map(|diag| diag.now(lost)));
        let lost = format!("{} is not run", shown(&one.name));
        faults.extend(seen.router(one).map(|diag| diag.now(&*lost)));
        faults.extend(seen.addresses(one).into_iter().map(|diag| diag.now(&*lost)));
        let refusals = faults.into_iter().map(|diag| ctx.lose(diag));
        one.refusals.extend(refusals);
    }
}

/// The first of each kind.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, Span>,
    routers: BTreeMap<(String, u8, u8), (String, Span)>,
    addresses: BTreeMap<(IpAddr, String), (String, Span)>,
}

impl Seen {
    fn name(&mut self, one: &Lowered) -> Option<Diag> {
        if let Some(first) = self.names.get(&one.name) {
            let message = format!("there are two instances named `{}`", shown(&one.name));
            let diag = Diag::error(Code::Twice, one.span.clone(), message);
            let hint = "give it another name";
            return Some(diag.hint(hint).also(first.clone(), "the first one"));
        }
        self.names.insert(one.name.clone(), one.span.clone());
        None
    }

    fn router(&mut self, one: &Lowered) -> Option<Diag> {
        let instance = one.instance.as_ref()?;
        let key = (instance.interface.clone(), instance.vrid.get(), instance.family as u8);
        if let Some((name, first)) = self.routers.get(&key) {
            let message = format!(
                "virtual router {} on {} is {} already",
                instance.vrid,
                shown(&instance.interface),
                shown(name)
            );
            let diag = Diag::error(Code::Twice, one.span.clone(), message);
            let hint =
                "give it another `virtual_router_id`, or put its addresses into the first one";
            return Some(diag.hint(hint).also(first.clone(), "the first one"));
        }
        self.routers.insert(key, (one.name.clone(), one.span.clone()));
        None
    }

    /// Two routers with one address take it from each other.
    fn addresses(&mut self, one: &Lowered) -> Vec<Diag> {
        let mut faults = Vec::new();
        for written in &one.written {
            let key = (written.address.ip, written.address.device.clone());
            if let Some((name, first)) = self.addresses.get(&key) {
                let message = format!("{} belongs to {} already", written.address.ip, shown(name));
                let diag = Diag::error(Code::Twice, written.span.clone(), message);
                let hint = "one address, one instance";
                faults.push(diag.hint(hint).also(first.clone(), "the first one"));
                continue;
            }
            self.addresses.insert(key, (one.name.clone(), written.span.clone()));
        }
        faults
    }
}
