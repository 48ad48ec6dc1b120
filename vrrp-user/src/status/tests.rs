use super::*;

/// A daemon without instances.
fn status(more: &str) -> Status {
    let json = format!(
        r#"{{"version": "0", "pid": 1, "uptime_ms": 1, "router_id": "r", "config": "c", {more}
            "instances": [], "refused_instances": [], "interfaces": [], "scripts": [],
            "strangers": []}}"#
    );
    serde_json::from_str(&json).unwrap()
}

#[test]
fn what_is_mostly_not_so_is_told_where_it_is() {
    let keys = ["no_kernel_timers", "host_behind_ms"];
    let well = status("");
    assert_eq!(render(&well).lines().count(), 1, "{}", render(&well));
    let json = serde_json::to_value(&well).unwrap();
    assert!(keys.iter().all(|key| json.get(key).is_none()), "{json}");
    let ill = status(r#""no_kernel_timers": "Invalid argument", "host_behind_ms": 2500,"#);
    let said = render(&ill);
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(lines[0], "timers are the daemon's own: Invalid argument");
    assert!(lines[1].starts_with("interfaces and addresses are those of 2 s ago"), "{said}");
    assert_eq!(lines.len(), 2, "{said}");
    let json = serde_json::to_value(&ill).unwrap();
    assert_eq!((&json[keys[0]], &json[keys[1]]), (&"Invalid argument".into(), &2500.into()));
}

#[test]
fn a_takeover_tells_the_stages_that_there_were() {
    let takeover = Takeover {
        ago_ms: 0,
        after: After::Silence,
        silence_ms: Some(3609.38),
        woke_ms: 0.02,
        advert_ms: Some(0.03),
        address_ms: Some(0.08),
        address_was_on: false,
        announced_ms: None,
        notify_ms: Some(1.5),
    };
    let said = "silence 3609.38 ms, advert +0.03 ms, address +0.08 ms, notify +1.50 ms";
    assert_eq!(stages(&takeover), said);
    let mute = Takeover { advert_ms: None, announced_ms: Some(0.1), ..takeover };
    let said = "silence 3609.38 ms, address +0.08 ms, announced +0.10 ms, notify +1.50 ms";
    assert_eq!(stages(&mute), said);
}
