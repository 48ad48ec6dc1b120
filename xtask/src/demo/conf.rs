//! The configurations of the demo, as they would stand in `/etc/keepalived/keepalived.conf`.

/// One address in VRRPv2 with a check of nginx: one advert a second.
pub(super) fn one_address(host: &str) -> String {
    let (state, priority) = if host == "r1" { ("MASTER", 110) } else { ("BACKUP", 100) };
    format!(
        "! Configuration File for keepalived

global_defs {{
    router_id {host}
    script_user root
    enable_script_security
}}

vrrp_script chk_nginx {{
    script \"/bin/bash -c '</dev/tcp/127.0.0.1/80'\"    # does nginx take a connection?
    interval 1
    fall 2
    rise 2
    weight -20
}}

vrrp_instance VI_1 {{
    state {state}
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int 1
    authentication {{
        auth_type PASS
        auth_pass 1111
    }}
    virtual_ipaddress {{
        192.0.2.250/24
    }}
    track_script {{
        chk_nginx
    }}
}}
"
    )
}

/// Two addresses in VRRPv3, each host leads for one: ten adverts a second.
pub(super) fn two_addresses(host: &str) -> String {
    let (first, second) = if host == "r1" { (110, 100) } else { (100, 110) };
    let instance = |name: &str, vrid: u8, priority: u8, address: &str| {
        format!(
            "
vrrp_instance {name} {{
    interface eth0
    virtual_router_id {vrid}
    priority {priority}
    advert_int 0.1
    virtual_ipaddress {{
        {address}/24
    }}
}}
"
        )
    };
    format!(
        "! Configuration File for keepalived

global_defs {{
    router_id {host}
    vrrp_version 3
}}
{}{}",
        instance("VI_1", 51, first, "192.0.2.250"),
        instance("VI_2", 52, second, "192.0.2.251")
    )
}

/// A file as the demo shows it, set off from the rest.
pub(super) fn shown(text: &str) -> String {
    text.lines().map(|line| format!("    | {line}\n")).collect()
}
