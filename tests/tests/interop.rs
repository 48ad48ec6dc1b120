//! With other implementations on one LAN, each taking over from the other.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vrrp_tests::conf::Instance;
use vrrp_tests::wait::{is_about_awake, pause, together};
use vrrp_tests::{Daemon, Kind, Lab, Pulse, wait_until};

const VIP: &str = "192.0.2.250";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
const LIMIT: Duration = Duration::from_secs(30);

/// How the two are set up.
struct Setting {
    version: u8,
    interval: &'static str,
    interval_ms: u64,
    password: Option<&'static str>,
}

impl Setting {
    fn conf(&self, priority: u8) -> String {
        let instance = Instance::new(priority).every(self.interval);
        match self.password {
            Some(password) => instance.password(password).alone(self.version),
            None => instance.alone(self.version),
        }
    }
}

const V2_PASS: Setting =
    Setting { version: 2, interval: "1", interval_ms: 1000, password: Some("1111") };
const V3: Setting = Setting { version: 3, interval: "0.4", interval_ms: 400, password: None };

/// `first` leads, `second` follows; then `first` stops, comes back and preempts, and dies.
fn take_turns(setting: &Setting, first: Kind, second: Kind) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let _echoes = (lab.echo("r1")?, lab.echo("r2")?);
    let client = lab.ask(ADDRESS, 200)?;
    let wire = lab.capture("client")?;
    let start =
        |kind, host, priority| -> Result<Daemon> { lab.start(kind, host, &setting.conf(priority)) };
    let served = |who: u8, what: &str| wait_until(what, LIMIT, || client.served_by() == Some(who));

    let pulse = Pulse::start();
    let mut r1 = start(first, "r1", 200)?;
    served(11, "r1 answers")?;
    let mut r2 = start(second, "r2", 100)?;
    let follows = || r2.log().contains("Entering BACKUP") || r2.log().contains("-> Backup");
    wait_until("r2 is BACKUP", LIMIT, follows).with_context(|| r2.log_end())?;
    pause(2 * 4 * setting.interval_ms);
    ensure!(wire.adverts_of("r2").is_empty(), "r2 spoke: {:?}", wire.adverts_of("r2"));
    served(11, "r1 still answers")?;

    // An orderly stop hands over after the skew, well before three intervals.
    r1.stop()?;
    served(12, "r2 answers after r1 stopped").with_context(|| r2.log_end())?;
    let zero = wire.adverts_of("r1").pop().context("r1 never spoke")?;
    ensure!(zero.advert.priority == 0, "r1 went without priority 0: {zero:?}");
    let first_of_r2 = wire.adverts_of("r2").remove(0);
    let waited = (zero.at, first_of_r2.at);
    let skew = Duration::from_millis(setting.interval_ms * 156 / 256);
    let in_time = is_about_awake(waited, skew, &pulse);
    ensure!(in_time, "r2 spoke from priority 0 {waited:?}, not after {skew:?}");

    // The stronger one comes back and takes it, and the other gives way.
    let mut r1 = start(first, "r1", 200)?;
    served(11, "r1 preempts").with_context(|| r1.log_end())?;
    wait_until("r2 lets go", LIMIT, || {
        first == Kind::Frr || second == Kind::Frr || !lab.holds("r2", VIP)
    })?;

    // Death without a word: a whole Master_Down_Interval.
    pause(2 * setting.interval_ms);
    r1.kill()?;
    lab.carrier("r1", false)?;
    served(12, "r2 answers after r1 died").with_context(|| r2.log_end())?;
    let last = wire.adverts_of("r1").pop().context("r1 never spoke")?;
    let takes = wire.adverts_of("r2").into_iter().find(|seen| seen.at > last.at);
    let waited = (last.at, takes.context("r2 is silent")?.at);
    let down = Duration::from_millis(3 * setting.interval_ms) + skew;
    let in_time = is_about_awake(waited, down, &pulse);
    ensure!(in_time, "r2 spoke from r1's last advert {waited:?}, not after {down:?}");
    r2.stop()?;
    Ok(())
}

#[test]
fn keepalived_v2_with_password() -> Result<()> {
    together(&[
        ("ours leads", || take_turns(&V2_PASS, Kind::under_test(), Kind::Keepalived)),
        ("keepalived leads", || take_turns(&V2_PASS, Kind::Keepalived, Kind::under_test())),
    ])
}

#[test]
fn keepalived_v3() -> Result<()> {
    together(&[
        ("ours leads", || take_turns(&V3, Kind::under_test(), Kind::Keepalived)),
        ("keepalived leads", || take_turns(&V3, Kind::Keepalived, Kind::under_test())),
    ])
}

#[test]
fn frr_v3() -> Result<()> {
    together(&[
        ("ours leads", || take_turns(&V3, Kind::under_test(), Kind::Frr)),
        ("FRR leads", || take_turns(&V3, Kind::Frr, Kind::under_test())),
    ])
}

/// Another password on the peer: neither believes the other, and ours says so.
#[test]
fn another_password_is_refused_and_named() -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let conf = |password: &str| Instance::new(100).password(password).alone(2);
    let _peer = lab.start(Kind::Keepalived, "r1", &conf("theirs"))?;
    wait_until("the peer holds the address", LIMIT, || lab.holds("r1", VIP))?;
    let ours = lab.run("r2", &conf("ours"))?;
    wait_until("ours takes it too", LIMIT, || lab.holds("r2", VIP))?;
    if Kind::ours_under_test() {
        let status = ours.status()?;
        let instance = status.instance("VI_1")?;
        ensure!(instance.refused("auth_data") > 0, "not counted: {}", instance.json());
        let (reason, source, _) = instance.last_refused().context("no last refused advert")?;
        ensure!((reason, source) == ("auth_data", "192.0.2.11"), "{}", instance.json());
        ensure!(ours.log().contains("192.0.2.11"), "the log does not name the sender");
    }
    Ok(())
}
