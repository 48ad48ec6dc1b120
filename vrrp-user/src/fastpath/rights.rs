//! What a process needs to load the kernel program, and what this one has of it.

use std::fs;

/// For the pointer arithmetic that the verifier allows nobody else.
pub(super) const PERFMON: &str = "CAP_PERFMON";
/// `CAP_SYS_ADMIN` includes the others here.
const SYS_ADMIN: u32 = 21;
/// Their numbers in `linux/capability.h`.
const NEEDED: [(&str, u32); 3] = [("CAP_BPF", 39), (PERFMON, 38), ("CAP_NET_ADMIN", 12)];

/// What this process lacks; nothing, where that is not known.
pub(super) fn lacking() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    effective(&status).map(lacks).unwrap_or_default()
}

fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn lacks(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective >> number & 1 == 1;
    let missing = NEEDED.iter().filter(|(_, number)| !has(*number) && !has(SYS_ADMIN));
    missing.map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let status = "Name:\txvrrp\nCapPrm:\t000001ffffffffff\nCapEff:\t0000008000001000\n";
        assert_eq!(effective(status), Some(1 << 39 | 1 << 12));
        assert_eq!(lacks(1 << 39 | 1 << 12), [PERFMON]);
        assert_eq!(lacks(0), ["CAP_BPF", PERFMON, "CAP_NET_ADMIN"]);
        assert!(lacks(1 << SYS_ADMIN).is_empty());
        assert_eq!(effective("Name:\txvrrp\n"), None);
    }
}
