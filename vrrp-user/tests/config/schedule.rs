//! How the daemon is scheduled, and how long addresses outlive it.

use std::time::Duration;

use rstest::rstest;
use xvrrp::config::Loaded;
use xvrrp::config::model::{Global, Scheduling};

use crate::common::{config, faults, text};

/// `global_defs` with these lines, which start in line 2, and an instance.
fn global(lines: &str) -> Loaded {
    text(&format!(
        "global_defs {{\n{lines}\n}}\nvrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\n\
         virtual_ipaddress {{ 192.0.2.1 }}\n}}\n"
    ))
}

#[test]
fn real_time_and_locked_memory_unless_the_file_says_otherwise() {
    let loaded = global("router_id x");
    let Global { scheduling, address_lease, .. } = &config(&loaded).global;
    assert_eq!(scheduling, &Scheduling::default());
    assert_eq!((scheduling.real_time, scheduling.lock_memory), (Some(51), true));
    assert_eq!(*address_lease, None);
}

#[test]
fn everything_is_as_written() {
    let loaded = global(
        "vrrp_rt_priority 99\nvrrp_priority -20\nvrrp_no_swap\nvrrp_cpu_affinity 3 0 1023 3\n\
         vrrp_rlimit_rttime 10000\nvrrp_address_lease 10",
    );
    assert_eq!(faults(&loaded), Vec::<String>::new());
    let global = &config(&loaded).global;
    let scheduling = Scheduling {
        real_time: Some(99),
        nice: Some(-20),
        lock_memory: true,
        cpus: vec![0, 3, 1023],
        cpu_limit: Some(Duration::from_millis(10)),
    };
    assert_eq!(global.scheduling, scheduling);
    assert_eq!(global.address_lease, Some(Duration::from_secs(10)));
}

#[test]
fn both_can_be_switched_off() {
    let loaded = global("vrrp_rt_priority 0\nvrrp_no_swap off\nvrrp_rlimit_rtime 1000");
    assert_eq!(faults(&loaded), Vec::<String>::new());
    let scheduling = &config(&loaded).global.scheduling;
    assert_eq!((scheduling.real_time, scheduling.lock_memory), (None, false));
    assert_eq!(scheduling.cpu_limit, Some(Duration::from_millis(1)));
}

/// A value that is none is told, and everything runs as without it.
#[rstest]
#[case::level("vrrp_rt_priority 100", "2:18", "it stays 51")]
#[case::below("vrrp_rt_priority -1", "2:18", "it stays 51")]
#[case::nice("vrrp_priority 20", "2:15", "the nice value stays as it is")]
#[case::nicer("vrrp_priority -21", "2:15", "the nice value stays as it is")]
#[case::switch("vrrp_no_swap maybe", "2:14", "it stays on")]
#[case::cpu("vrrp_cpu_affinity 1024", "2:19", "all CPUs are used")]
#[case::cpu_list("vrrp_cpu_affinity 0-3", "2:19", "all CPUs are used")]
#[case::second_cpu("vrrp_cpu_affinity 0 x", "2:19", "all CPUs are used")]
#[case::no_cpu("vrrp_cpu_affinity", "2:1", "`vrrp_cpu_affinity` keeps its default")]
#[case::limit("vrrp_rlimit_rttime 999", "2:20", "there is no limit")]
#[case::limit_word("vrrp_rlimit_rttime 1ms", "2:20", "there is no limit")]
#[case::lease("vrrp_address_lease 1", "2:20", "addresses stay until they are taken off")]
#[case::long_lease("vrrp_address_lease 86401", "2:20", "addresses stay until they are taken off")]
#[case::part("vrrp_address_lease 2.5", "2:20", "addresses stay until they are taken off")]
#[case::no_lease("vrrp_address_lease 0", "2:20", "addresses stay until they are taken off")]
fn what_is_wrong_costs_nobody(#[case] line: &str, #[case] at: &str, #[case] now: &str) {
    let loaded = global(line);
    assert_eq!(loaded.diags.len(), 1, "{}", loaded.render(false));
    assert!(faults(&loaded)[0].starts_with(&format!("{at} error ")), "{:?}", faults(&loaded));
    assert_eq!(loaded.diags[0].consequence, now);
    let global = &config(&loaded).global;
    assert_eq!(global.scheduling, Scheduling::default());
    assert_eq!(global.address_lease, None);
    assert_eq!(config(&loaded).instances.len(), 1);
}

#[test]
fn a_wrong_one_leaves_the_right_one_before_it() {
    let loaded = global("vrrp_address_lease 30\nvrrp_address_lease 1s\nvrrp_rt_priority 0");
    assert_eq!(loaded.diags[0].consequence, "it stays 30 s");
    assert_eq!(config(&loaded).global.address_lease, Some(Duration::from_secs(30)));
    let loaded = global("vrrp_rt_priority 0\nvrrp_rt_priority high");
    assert_eq!(loaded.diags[0].consequence, "scheduling stays ordinary");
}
