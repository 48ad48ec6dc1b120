//! The table of keepalived's words (keepalived.conf(5) and its parser, up to 2.4).

use super::super::value;
use super::Class::{Ignored, Later, Refused, Served};
use super::Takes::{Anything, Block, Bool, Flag, Line, Named, Values};
use super::{Class, Known, Place, Takes};

/// All words, by place.
pub(super) static ALL: &[&[Known]] = &[
    ROOT,
    GLOBAL,
    GLOBAL_LATER,
    GLOBAL_IGNORED,
    SCRIPT,
    INSTANCE,
    INSTANCE_LATER,
    AUTHENTICATION,
    SYNC_GROUP,
];

const ONE: Takes = Values(1, 1);

const fn known(place: Place, name: &'static str, class: Class, takes: Takes) -> Known {
    Known { name, place, class, takes, vital: false }
}

impl Known {
    const fn vital(self) -> Self {
        Self { vital: true, ..self }
    }
}

const fn root(name: &'static str, class: Class, takes: Takes) -> Known {
    known(Place::Root, name, class, takes)
}

const fn global(name: &'static str, class: Class, takes: Takes) -> Known {
    known(Place::Global, name, class, takes)
}

const fn script(name: &'static str, takes: Takes) -> Known {
    known(Place::Script, name, Served, takes)
}

const fn served(name: &'static str, takes: Takes) -> Known {
    known(Place::Instance, name, Served, takes)
}

const fn ignored(name: &'static str, takes: Takes) -> Known {
    known(Place::Instance, name, Ignored, takes)
}

const fn later(name: &'static str, takes: Takes, effect: &'static str) -> Known {
    known(Place::Instance, name, Later(effect), takes)
}

const fn refused(name: &'static str, takes: Takes, what: &'static str) -> Known {
    known(Place::Instance, name, Refused(what), takes).vital()
}

const STATICS: &str = "it is not set: set it where the host's network is configured";
const LINKS: &str = "carrier is learned from the kernel's messages";

const ROOT: &[Known] = &[
    root("global_defs", Served, Block).vital(),
    root("vrrp_script", Served, Named).vital(),
    root("vrrp_instance", Served, Named).vital(),
    root("vrrp_sync_group", Served, Named).vital(),
    root("interface_up_down_delays", Served, Block),
    root("track_file", Later("it is read over"), Named),
    root("vrrp_track_file", Later("it is read over"), Named),
    root("vrrp_track_process", Later("it is read over"), Named),
    root("bfd_instance", Later("it is read over"), Named),
    root("garp_group", Later("announcements go out without a common pace"), Anything),
    root("linkbeat_interfaces", Later(LINKS), Anything),
    root("static_ipaddress", Later(STATICS), Anything),
    root("static_routes", Later(STATICS), Anything),
    root("static_rules", Later(STATICS), Anything),
    root("track_group", Later("a lost static object is no fault"), Named),
    root("net_namespace", Refused("running in another network namespace"), Anything).vital(),
    root("net_namespace_ipvs", Ignored, Anything),
    root("namespace_with_ipsets", Ignored, Anything),
    root("instance", Ignored, Anything),
    root("use_pid_dir", Ignored, Anything),
    root("child_wait_time", Ignored, Anything),
    root("linkbeat_use_polling", Ignored, Anything),
];

const DELAY: &str = "instances start as soon as their interface is up";
const FIFO: &str = "nothing is written to the pipe; `notify` commands are run";
const SNMP: &str = "no SNMP agent is fed";
const DBUS: &str = "nothing is sent over D-Bus";
const DUMP: &str = "`xvrrp status --json` has what a dump holds";

const GLOBAL: &[Known] = &[
    global("router_id", Served, ONE),
    global("vrrp_version", Served, ONE).vital(),
    global("script_user", Served, Values(1, 3)),
    global("enable_script_security", Served, Bool),
    global("vrrp_startup_delay", Served, ONE),
    global("vrrp_garp_master_delay", Served, ONE),
    global("vrrp_garp_master_repeat", Served, ONE),
    global("vrrp_garp_master_refresh", Served, ONE),
    global("vrrp_garp_master_refresh_repeat", Served, ONE),
    global("vrrp_garp_lower_prio_delay", Served, ONE),
    global("vrrp_garp_lower_prio_repeat", Served, ONE),
    global("vrrp_garp_extra_if", Served, Values(1, 2)),
    global("vrrp_vmac_garp_intvl", Served, Values(1, 2)),
    global("vrrp_garp_interval", Served, ONE),
    global("vrrp_gna_interval", Served, ONE),
    global("vrrp_min_garp", Served, Bool),
    global("vrrp_lower_prio_no_advert", Served, Bool),
    global("vrrp_higher_prio_send_advert", Served, Bool),
    global("v3_checksum_as_v2", Served, Bool),
    global("log_unknown_vrids", Served, Flag),
    global("vrrp_datapath", Served, ONE),
    global("vrrp_address_lease", Served, ONE),
    global("vrrp_rt_priority", Served, ONE),
    global("vrrp_priority", Served, ONE),
    global("vrrp_no_swap", Served, Bool),
    global("vrrp_cpu_affinity", Served, Values(1, value::CPUS)),
    global("vrrp_rlimit_rttime", Served, ONE),
    global("vrrp_rlimit_rtime", Served, ONE),
    global("vrrp_strict", Served, Bool).vital(),
    global("vrrp_mcast_group4", Served, ONE).vital(),
    global("vrrp_mcast_group6", Served, ONE).vital(),
    global("vrrp_down_timer_adverts", Served, ONE).vital(),
    global("vrrp_owner_ignore_adverts", Served, Bool).vital(),
    global("vrrp_check_unicast_src", Served, Bool),
    global("vrrp_skip_check_adv_addr", Served, Bool),
    global("vrrp_vip_mismatch", Served, ONE),
    global("vmac_prefix", Served, ONE).vital(),
    global("vmac_addr_prefix", Served, ONE).vital(),
    global("dynamic_interfaces", Served, Values(0, 1)),
    global("net_namespace", Refused("running in another network namespace"), ONE).vital(),
];

const GLOBAL_LATER: &[Known] = &[
    global("vrrp_delay_after_boot", Later(DELAY), Anything),
    global("smtp_alert", Later("no mail is sent"), Bool),
    global("smtp_alert_vrrp", Later("no mail is sent"), Bool),
    // Of how mail is sent; that none is is said where it would be.
    global("notification_email", Ignored, Anything),
    global("notification_email_from", Ignored, Anything),
    global("smtp_server", Ignored, Anything),
    global("smtp_connect_timeout", Ignored, Anything),
    global("smtp_helo_name", Ignored, Anything),
    global("no_email_faults", Ignored, Anything),
    global("notify_fifo", Later(FIFO), Anything),
    global("notify_fifo_script", Later(FIFO), Anything),
    global("vrrp_notify_fifo", Later(FIFO), Anything),
    global("vrrp_notify_fifo_script", Later(FIFO), Anything),
    global("vrrp_notify_priority_changes", Later(FIFO), Bool),
    global("fifo_write_vrrp_states_on_reload", Later(FIFO), Anything),
    global("startup_script", Later("it is not run"), Anything),
    global("startup_script_timeout", Ignored, Anything),
    global("shutdown_script", Later("it is not run"), Anything),
    global("shutdown_script_timeout", Ignored, Anything),
    global("enable_snmp_vrrp", Later(SNMP), Anything),
    global("enable_snmp_rfc", Later(SNMP), Anything),
    global("enable_snmp_rfcv2", Later(SNMP), Anything),
    global("enable_snmp_rfcv3", Later(SNMP), Anything),
    global("enable_snmp_keepalived", Later(SNMP), Anything),
    global("enable_traps", Later(SNMP), Anything),
    global("snmp_socket", Ignored, Anything),
    global("enable_dbus", Later(DBUS), Anything),
    global("dbus_service_name", Ignored, Anything),
    global("dbus_no_interface_name", Ignored, Anything),
    global("reload_time_file", Later("reload with SIGHUP"), Anything),
    global("reload_repeat", Ignored, Anything),
    global("reload_file", Later("no such file is written"), Anything),
    global("state_dump_file", Later(DUMP), Anything),
    global("stats_dump_file", Later(DUMP), Anything),
    global("json_dump_file", Later(DUMP), Anything),
    global("json_version", Ignored, Anything),
    global("use_symlink_paths", Ignored, Anything),
    global("set_supplementary_groups", Later("scripts run without further groups"), Bool),
    global("umask", Later("files are made with the mask the daemon was started with"), Anything),
    global("include_check", Ignored, Anything),
];

/// Without effect here, for LVS, or about a process that xvrrp hasn't got.
const GLOBAL_IGNORED: &[Known] = &{
    const NAMES: &[&str] = &[
        "bfd_cpu_affinity",
        "bfd_no_swap",
        "bfd_priority",
        "bfd_process_name",
        "bfd_rlimit_rttime",
        "bfd_rt_priority",
        "checker_cpu_affinity",
        "checker_log_all_failures",
        "checker_no_swap",
        "checker_priority",
        "checker_process_name",
        "checker_rlimit_rttime",
        "checker_rt_priority",
        "child_wait_time",
        "config_save_dir",
        "data_use_instance",
        "default_interface",
        "disable_local_igmp",
        "enable_snmp_checker",
        "instance",
        "iproute_etc_dir",
        "iproute_usr_dir",
        "linkbeat_use_polling",
        "lvs_flush",
        "lvs_flush_on_stop",
        "lvs_flush_onstop",
        "lvs_netlink_cmd_rcv_bufs",
        "lvs_netlink_cmd_rcv_bufs_force",
        "lvs_netlink_monitor_rcv_bufs",
        "lvs_netlink_monitor_rcv_bufs_force",
        "lvs_notify_fifo",
        "lvs_notify_fifo_script",
        "lvs_process_name",
        "lvs_sync_daemon",
        "lvs_timeouts",
        "max_auto_priority",
        "min_auto_priority_delay",
        "namespace_with_ipsets",
        "net_namespace_ipvs",
        "nftables",
        "nftables_counters",
        "nftables_ifindex",
        "nftables_ipvs",
        "nftables_ipvs_priority",
        "nftables_ipvs_start_fwmark",
        "nftables_priority",
        "no_checker_emails",
        "process_monitor_rcv_bufs",
        "process_monitor_rcv_bufs_force",
        "process_name",
        "process_names",
        "random_seed",
        "reload_check_config",
        "rs_init_notifies",
        "smtp_alert_checker",
        "snmp_rs_stats_update_interval",
        "snmp_vs_stats_update_interval",
        "tmp_config_directory",
        "use_pid_dir",
        "vrrp_ipsets",
        "vrrp_iptables",
        "vrrp_netlink_cmd_rcv_bufs",
        "vrrp_netlink_cmd_rcv_bufs_force",
        "vrrp_netlink_monitor_rcv_bufs",
        "vrrp_netlink_monitor_rcv_bufs_force",
        "vrrp_process_name",
        "vrrp_rx_bufs_multiplier",
        "vrrp_rx_bufs_policy",
    ];
    let mut all = [global("", Ignored, Anything); NAMES.len()];
    let mut at = 0;
    while at < NAMES.len() {
        all[at] = global(NAMES[at], Ignored, Anything);
        at += 1;
    }
    all
};

const SCRIPT: &[Known] = &[
    script("script", Line).vital(),
    script("interval", ONE),
    script("timeout", ONE),
    script("weight", Values(1, 2)).vital(),
    script("rise", ONE),
    script("fall", ONE),
    script("user", Values(1, 3)),
    script("init_fail", Flag),
];

const INSTANCE: &[Known] = &[
    served("state", ONE),
    served("interface", ONE).vital(),
    served("virtual_router_id", ONE).vital(),
    served("priority", ONE).vital(),
    served("advert_int", ONE).vital(),
    served("version", ONE).vital(),
    served("nopreempt", Flag).vital(),
    served("preempt", Flag),
    served("preempt_delay", ONE).vital(),
    served("authentication", Block).vital(),
    served("virtual_ipaddress", Block).vital(),
    served("virtual_ipaddress_excluded", Block).vital(),
    served("virtual_routes", Block).vital(),
    served("virtual_rules", Block).vital(),
    served("mcast_src_ip", ONE).vital(),
    served("unicast_src_ip", ONE).vital(),
    served("track_src_ip", Flag).vital(),
    served("mcast_dst_ip", ONE).vital(),
    served("unicast_peer", Block).vital(),
    served("vrf", ONE).vital(),
    served("unicast_ttl", ONE).vital(),
    served("check_unicast_src", Bool),
    served("unicast_fault_no_peer", Flag).vital(),
    served("use_vmac", Values(0, usize::MAX)).vital(),
    served("use_vmac_addr", Flag).vital(),
    served("vmac_xmit_base", Flag).vital(),
    served("use_ipvlan", Values(0, usize::MAX)).vital(),
    served("accept", Flag),
    served("no_accept", Flag).vital(),
    served("strict_mode", Bool).vital(),
    served("vip_mismatch", ONE),
    served("skip_check_adv_addr", Bool),
    served("owner_ignore_adverts", Bool).vital(),
    served("down_timer_adverts", ONE).vital(),
    served("timer_expired_backup", Values(0, 1)),
    served("thread_timer_expired", Values(0, 1)),
    served("promote_secondaries", Flag),
    served("garp_master_delay", ONE),
    served("garp_master_repeat", ONE),
    served("garp_master_refresh", ONE),
    served("garp_master_refresh_repeat", ONE),
    served("garp_lower_prio_delay", ONE),
    served("garp_lower_prio_repeat", ONE),
    served("garp_extra_if", Values(1, 2)),
    served("vmac_garp_intvl", Values(1, 2)),
    served("track_script", Block).vital(),
    served("track_interface", Block).vital(),
    served("dont_track_primary", Flag),
    served("no_virtual_ipaddress", Flag),
    served("v3_checksum_as_v2", Bool),
    served("lower_prio_no_advert", Bool),
    served("higher_prio_send_advert", Bool),
    served("notify", Line),
    served("notify_master", Line),
    served("notify_backup", Line),
    served("notify_fault", Line),
    served("notify_stop", Line),
    served("notify_deleted", Values(0, usize::MAX)),
];

const MAIL: &str = "no mail is sent";
const OLD_SUM: &str = "without `v3_checksum_as_v2` an advert's checksum is also over its source and the peer's \
     address, which keepalived up to 1.3.6 refuses from a peer";

const INSTANCE_LATER: &[Known] = &[
    ignored("native_ipv6", Flag),
    ignored("debug", Anything),
    ignored("linkbeat_use_polling", Anything),
    ignored("lvs_sync_daemon_interface", Anything),
    ignored("lvs_sync_daemon_inteface", Anything),
    ignored("kernel_rx_buf_size", Anything),
    later("smtp_alert", Bool, MAIL),
    later("notify_master_rx_lower_pri", Anything, "the command is not run"),
    later("notify_priority_changes", Bool, FIFO),
    later("old_unicast_checksum", Anything, OLD_SUM),
    later("proxy_arp", Anything, "the interface is left as it is"),
    later("proxy_arp_pvlan", Anything, "the interface is left as it is"),
    refused("track_file", Anything, "tracking a file"),
    refused("track_process", Anything, "tracking a process"),
    refused("track_bfd", Anything, "tracking a BFD session"),
];

const AUTHENTICATION: &[Known] = &[
    known(Place::Authentication, "auth_type", Served, ONE).vital(),
    known(Place::Authentication, "auth_pass", Served, ONE).vital(),
];

const fn group(name: &'static str, class: Class, takes: Takes) -> Known {
    known(Place::SyncGroup, name, class, takes)
}

const SYNC_GROUP: &[Known] = &[
    group("group", Served, Block).vital(),
    group("track_script", Served, Block).vital(),
    group("track_interface", Served, Block).vital(),
    group("sync_group_tracking_weight", Served, Flag),
    group("global_tracking", Served, Flag),
    group("notify", Served, Line),
    group("notify_master", Served, Line),
    group("notify_backup", Served, Line),
    group("notify_fault", Served, Line),
    group("notify_stop", Served, Line),
    group("notify_deleted", Served, Values(0, usize::MAX)),
    group("smtp_alert", Later(MAIL), Bool),
    group("notify_priority_changes", Later(FIFO), Bool),
    group("track_file", Refused("tracking a file"), Anything).vital(),
    group("track_process", Refused("tracking a process"), Anything).vital(),
    group("track_bfd", Refused("tracking a BFD session"), Anything).vital(),
];

/// Words that begin a block, and only outside all others.
pub(super) static FILE_BLOCKS: &[&str] = &[
    "global_defs",
    "vrrp_script",
    "vrrp_instance",
    "vrrp_sync_group",
    "vrrp_track_process",
    "vrrp_track_file",
    "static_ipaddress",
    "static_routes",
    "static_rules",
    "bfd_instance",
    "garp_group",
    "interface_up_down_delays",
    "virtual_server",
    "virtual_server_group",
];

/// Blocks of keepalived's other half.
pub(super) static LVS: &[&str] =
    &["virtual_server", "virtual_server_group", "SSL", "real_server", "sorry_server"];

/// What people write, and what they mean.
pub(super) static ALIASES: &[(Place, &str, &str)] = &[
    (Place::Instance, "router_id", "virtual_router_id"),
    (Place::Instance, "vrid", "virtual_router_id"),
    (Place::Instance, "vr_id", "virtual_router_id"),
    (Place::Instance, "vrouter_id", "virtual_router_id"),
    (Place::Instance, "virtual_router", "virtual_router_id"),
    (Place::Instance, "prio", "priority"),
    (Place::Instance, "iface", "interface"),
    (Place::Instance, "int", "interface"),
    (Place::Instance, "dev", "interface"),
    (Place::Instance, "nic", "interface"),
    (Place::Instance, "interval", "advert_int"),
    (Place::Instance, "advert_interval", "advert_int"),
    (Place::Instance, "advertisement_interval", "advert_int"),
    (Place::Instance, "adver_int", "advert_int"),
    (Place::Instance, "vip", "virtual_ipaddress"),
    (Place::Instance, "virtual_ip", "virtual_ipaddress"),
    (Place::Instance, "virtual_ip_address", "virtual_ipaddress"),
    (Place::Instance, "virtual_address", "virtual_ipaddress"),
    (Place::Instance, "no_preempt", "nopreempt"),
    (Place::Instance, "auth", "authentication"),
    (Place::Instance, "vrrp_version", "version"),
    (Place::Instance, "src_ip", "mcast_src_ip"),
    (Place::Authentication, "password", "auth_pass"),
    (Place::Authentication, "auth_password", "auth_pass"),
    (Place::Authentication, "pass", "auth_pass"),
    (Place::Authentication, "type", "auth_type"),
    (Place::Script, "command", "script"),
    (Place::Script, "path", "script"),
    (Place::Global, "version", "vrrp_version"),
    (Place::Global, "email", "notification_email"),
    (Place::Root, "global", "global_defs"),
    (Place::Root, "globals", "global_defs"),
    (Place::Root, "instance_vrrp", "vrrp_instance"),
    (Place::Root, "script", "vrrp_script"),
];
