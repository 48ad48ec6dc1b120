//! What `xvrrp status --json` says.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::daemon::xvrrp;

/// A status.
#[derive(Clone, Debug)]
pub struct Status(Value);

impl Status {
    /// Asks the daemon with this run directory.
    ///
    /// # Errors
    /// There is none, or it says something that is not JSON.
    pub fn read(run_dir: &Path) -> Result<Self> {
        let run_dir = run_dir.display().to_string();
        let output = xvrrp(&["status", "--json", "--run-dir", &run_dir])?;
        if !output.status.success() {
            bail!("status: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text).with_context(|| format!("status says {text}"))?;
        Ok(Self(value))
    }

    /// An instance by its name.
    ///
    /// # Errors
    /// There is no such instance.
    pub fn instance(&self, name: &str) -> Result<Instance<'_>> {
        let all = self.0["instances"].as_array().context("no list of instances")?;
        let found = all.iter().find(|instance| instance["name"] == name);
        found.map(Instance).with_context(|| format!("no instance {name} in {}", self.0))
    }

    /// The names of the instances.
    pub fn names(&self) -> Vec<&str> {
        let all = self.0["instances"].as_array();
        all.into_iter().flatten().filter_map(|instance| instance["name"].as_str()).collect()
    }

    /// The state of a sync group.
    ///
    /// # Errors
    /// There is no such group.
    pub fn group(&self, name: &str) -> Result<&str> {
        let all = self.0["sync_groups"].as_array().context("no list of groups")?;
        let found = all.iter().find(|group| group["name"] == name);
        found.and_then(|group| group["state"].as_str()).with_context(|| format!("no group {name}"))
    }

    /// How many frames found no room in the socket of an interface.
    ///
    /// # Errors
    /// It is not used.
    pub fn lost(&self, interface: &str) -> Result<u64> {
        self.interface(interface)?["lost"].as_u64().context("no count")
    }

    /// The virtual routers of others: VRID, source and how many packets came.
    pub fn strangers(&self) -> Vec<(u64, String, u64)> {
        let one = |stranger: &Value| {
            let source = stranger["source"].as_str()?.to_owned();
            Some((stranger["vrid"].as_u64()?, source, stranger["packets"].as_u64()?))
        };
        self.0["strangers"].as_array().into_iter().flatten().filter_map(one).collect()
    }

    /// A script by its name: its health, and how its last run ended.
    ///
    /// # Errors
    /// There is no such script.
    pub fn script(&self, name: &str) -> Result<(&str, &str)> {
        let all = self.0["scripts"].as_array().context("no list of scripts")?;
        let found = all.iter().find(|script| script["name"] == name);
        let script = found.with_context(|| format!("no script {name} in {}", self.0))?;
        Ok((script["health"].as_str().unwrap_or("?"), script["last"].as_str().unwrap_or_default()))
    }

    /// The data path of an interface (`native`, `generic`, `socket`), and why that one.
    ///
    /// # Errors
    /// It is not used.
    pub fn datapath(&self, interface: &str) -> Result<(&str, &str)> {
        let entry = self.interface(interface)?;
        let path = entry["datapath"].as_str().context("no datapath")?;
        Ok((path, entry["why"].as_str().unwrap_or_default()))
    }

    fn interface(&self, name: &str) -> Result<&Value> {
        let all = self.0["interfaces"].as_array().context("no list of interfaces")?;
        let found = all.iter().find(|entry| entry["name"] == name);
        found.with_context(|| format!("no interface {name} in {}", self.0))
    }
}

/// One instance of a status.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a>(&'a Value);

impl Instance<'_> {
    /// `MASTER`, `BACKUP`, `FAULT` or `INIT`.
    pub fn state(&self) -> &str {
        self.0["state"].as_str().unwrap_or("?")
    }

    /// The address that its adverts come from; empty: none.
    pub fn source(&self) -> &str {
        self.0["source"].as_str().unwrap_or_default()
    }

    /// Its routes and rules, and why the kernel did not take one; empty: it did, or was not asked.
    pub fn paths(&self) -> Vec<(String, String)> {
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let all = self.0["paths"].as_array().into_iter().flatten();
        all.map(|one| (text(one, "path"), text(one, "error"))).collect()
    }

    /// Why it is in its state.
    pub fn why(&self) -> &str {
        self.0["why"].as_str().unwrap_or_default()
    }

    /// Its interface; empty where none is written and none was found.
    pub fn interface(&self) -> &str {
        self.0["interface"].as_str().unwrap_or("?")
    }

    /// Why its adverts come through a socket where XDP checks those of others.
    pub fn by_socket(&self) -> Option<&str> {
        self.0["by_socket"].as_str()
    }

    /// Its virtual router and its priority as configured.
    pub fn identity(&self) -> (u64, u64) {
        let number = |key: &str| self.0[key].as_u64().unwrap_or(u64::MAX);
        (number("vrid"), number("priority"))
    }

    /// The addresses that it holds while MASTER.
    pub fn addresses(&self) -> Vec<&str> {
        let all = self.0["addresses"].as_array();
        all.into_iter().flatten().filter_map(|one| one["address"].as_str()).collect()
    }

    /// Its priority with what tracking adds.
    pub fn effective_priority(&self) -> u64 {
        self.0["effective_priority"].as_u64().unwrap_or(u64::MAX)
    }

    /// The peer it follows: address and interval in milliseconds.
    pub fn peer(&self) -> Option<(&str, f64)> {
        let peer = self.0.get("peer").filter(|peer| !peer.is_null())?;
        Some((peer["address"].as_str()?, peer["interval_ms"].as_f64()?))
    }

    /// Whom it heard, how each computed its last checksum, and how many were over the message alone and how
    /// many behind a pseudo-header.
    pub fn senders(&self) -> Vec<(String, String, [u64; 2])> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = self.0["senders"].as_array().into_iter().flatten();
        let counts =
            |one: &Value| ["message", "pseudo_header"].map(|form| one[form].as_u64().unwrap_or(0));
        all.map(|one| (word(&one["address"]), word(&one["checksum"]), counts(one))).collect()
    }

    /// Whose addresses differ from its own: for how many milliseconds, those that only it has, and those that
    /// only the sender has.
    pub fn differing(&self) -> Vec<(String, u64, [Vec<String>; 2])> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let words = |value: &Value| value.as_array().into_iter().flatten().map(word).collect();
        let all = self.0["senders"].as_array().into_iter().flatten();
        let differing = all.filter_map(|one| Some((word(&one["address"]), one.get("differs")?)));
        differing
            .map(|(sender, it)| {
                let since = it["since_ms_ago"].as_u64().unwrap_or_default();
                (sender, since, ["missing", "extra"].map(|which| words(&it[which])))
            })
            .collect()
    }

    /// Others that are MASTER too, with their priorities.
    pub fn other_masters(&self) -> Vec<(&str, u64)> {
        let all = self.0["other_masters"].as_array().into_iter().flatten();
        all.filter_map(|one| Some((one["address"].as_str()?, one["priority"].as_u64()?))).collect()
    }

    /// Why adverts can't be sent, and how many could not.
    pub fn failing(&self) -> Option<(&str, u64)> {
        let failing = self.0.get("failing")?;
        Some((failing["cause"].as_str()?, failing["adverts"].as_u64()?))
    }

    /// The longest gap between adverts that it heard, in milliseconds.
    pub fn longest_gap(&self) -> Option<f64> {
        self.0["arrivals"]["max_ms"].as_f64()
    }

    /// A counter: `accepted`, `sent`, `ring_full`, `complex`.
    pub fn counter(&self, name: &str) -> u64 {
        self.0["counters"][name].as_u64().unwrap_or_default()
    }

    /// How many adverts were refused for this reason.
    pub fn refused(&self, reason: &str) -> u64 {
        self.0["counters"]["refused"][reason].as_u64().unwrap_or_default()
    }

    /// What became of all adverts: how many were `accepted`, and how many refused for which reason, where
    /// there was any.
    pub fn verdicts(&self) -> BTreeMap<String, u64> {
        let refused = self.0["counters"]["refused"].as_object().into_iter().flatten();
        let refused = refused.map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0)));
        let accepted = ("accepted".to_owned(), self.counter("accepted"));
        refused.chain([accepted]).filter(|(_, count)| *count > 0).collect()
    }

    /// How many adverts were refused for any reason.
    pub fn refused_at_all(&self) -> u64 {
        let all = self.0["counters"]["refused"].as_object();
        all.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// The last refused advert: reason, sender and detail.
    pub fn last_refused(&self) -> Option<(&str, &str, &str)> {
        let last = self.0.get("last_refused").filter(|last| !last.is_null())?;
        let text = |key: &str| last[key].as_str().unwrap_or_default();
        Some((text("reason"), text("source"), text("detail")))
    }

    /// Its last takeover: for what it had waited, and whether the address was on before.
    pub fn takeover(&self) -> Option<(&str, bool)> {
        let takeover = self.0.get("takeover").filter(|takeover| !takeover.is_null())?;
        takeover["advert_ms"].as_f64()?;
        takeover["announced_ms"].as_f64()?;
        Some((takeover["after"].as_str()?, takeover["address_was_on"].as_bool()?))
    }

    /// A stage of its last takeover, by its name: so many milliseconds behind the end of the wait.
    pub fn stage(&self, name: &str) -> Option<f64> {
        self.0["takeover"][name].as_f64()
    }

    /// The whole of it, for messages.
    pub fn json(&self) -> String {
        self.0.to_string()
    }
}
