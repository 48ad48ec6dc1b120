//! What keeps a virtual router from being heard.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Instance, ago};

/// Another MASTER, which goes on although it loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherMaster {
    /// Its address.
    pub address: String,
    /// Its priority.
    pub priority: u8,
    /// When the first of its adverts arrived.
    pub since_ms_ago: u64,
    /// When the last one arrived.
    pub heard_ms_ago: u64,
}

/// Adverts that could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The kernel's error.
    pub error: String,
    /// That in more words, and what helps.
    pub cause: String,
    /// How many since one could be sent.
    pub adverts: u64,
    /// When the first of them was to be sent.
    pub since_ms_ago: u64,
    /// When the last one was.
    pub last_ms_ago: u64,
}

/// What keeps it from being heard.
pub(super) fn render(out: &mut String, i: &Instance) {
    for other in &i.other_masters {
        let _ = writeln!(
            out,
            "  other MASTER: {} with priority {} for {}, last {} ago: it does not hear this one",
            other.address,
            other.priority,
            ago(other.since_ms_ago),
            ago(other.heard_ms_ago)
        );
    }
    if let Some(failing) = &i.failing {
        let _ = writeln!(
            out,
            "  sending fails since {} ago, {} adverts, last {} ago: {}",
            ago(failing.since_ms_ago),
            failing.adverts,
            ago(failing.last_ms_ago),
            failing.cause
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn status(more: &str) -> String {
        let json = format!(
            r#"{{"version": "0", "pid": 1, "uptime_ms": 1, "router_id": "r", "config": "c",
                "instances": [{{"name": "VI_1", "state": "MASTER", "since_ms_ago": 1, "why": "",
                    "interface": "eth0", "vrid": 51, "version": 2, "priority": 150,
                    "effective_priority": 150, "advert_interval_ms": 1000.0, "master_down_ms": 3414.0,
                    "source": null, "peer": null, "addresses": [], "last_refused": null, {more}
                    "counters": {{"accepted": 0, "sent": 8, "zero_sent": 0, "zero_received": 0,
                        "became_master": 1, "ring_full": 0, "complex": 0, "refused": {{}}}}}}],
                "refused_instances": [], "interfaces": [], "scripts": [], "strangers": []}}"#
        );
        render(&serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn troubles_are_told_where_there_are_some() {
        let well = status("");
        assert!(!well.contains("sending fails") && !well.contains("other MASTER"), "{well}");
        let other = r#""other_masters": [{"address": "192.0.2.12", "priority": 100,
            "since_ms_ago": 12000, "heard_ms_ago": 340}],"#;
        let line = "  other MASTER: 192.0.2.12 with priority 100 for 12 s, last 340 ms ago: it does not \
                    hear this one\n";
        assert!(status(other).contains(line), "{}", status(other));
        let failing = r#""failing": {"error": "E", "cause": "too long", "adverts": 30,
            "since_ms_ago": 30000, "last_ms_ago": 340},"#;
        let line = "  sending fails since 30 s ago, 30 adverts, last 340 ms ago: too long\n";
        assert!(status(failing).contains(line), "{}", status(failing));
    }
}
