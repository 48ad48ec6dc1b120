//! The hosts with what runs on them, and the clients that ask.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use vrrp_tests::daemon::xvrrp_binary;
use vrrp_tests::http::HttpAsker;
use vrrp_tests::lab::number;
use vrrp_tests::wait::pause;
use vrrp_tests::web::Web;
use vrrp_tests::{Daemon, Kind, Lab, Pulse, now, wait_until};

use super::table::Outcome;
use super::ticker::{Clock, Ticker};

/// The address that the whole demo is about.
pub(super) const ONE: &str = "192.0.2.250";
/// The second one of its last part.
pub(super) const TWO: &str = "192.0.2.251";

/// How long after an event the outcome is looked at, so that a relapse shows.
const AFTERMATH: u64 = 700;

/// Everything on the stage.
pub(super) struct Stage {
    pub(super) clock: Clock,
    pulse: Pulse,
    results: Vec<Outcome>,
    // Dropped in this order: who asks, who answers, then the hosts.
    tickers: Vec<Ticker>,
    clients: BTreeMap<&'static str, Arc<Mutex<HttpAsker>>>,
    daemons: BTreeMap<&'static str, Daemon>,
    webs: BTreeMap<&'static str, Web>,
    pub(super) lab: Lab,
}

/// What an event may cost, and who answers after it.
pub(super) struct Expect {
    /// Where the client asks.
    pub(super) address: &'static str,
    /// The host that must answer in the end.
    pub(super) host: &'static str,
    /// The longest time without an answer that the protocol and the check allow.
    pub(super) allowed: Duration,
    /// Where that time comes from.
    pub(super) because: &'static str,
}

impl Stage {
    /// Starts nginx on both hosts.
    pub(super) fn set(lab: Lab) -> Result<Self> {
        let mut stage = Self {
            clock: Clock::start(),
            pulse: Pulse::start(),
            results: Vec::new(),
            tickers: Vec::new(),
            clients: BTreeMap::new(),
            daemons: BTreeMap::new(),
            webs: BTreeMap::new(),
            lab,
        };
        stage.web("r1")?;
        stage.web("r2")?;
        Ok(stage)
    }

    /// Starts nginx on a host.
    pub(super) fn web(&mut self, host: &'static str) -> Result<()> {
        let web = Web::start(&self.lab, host)?;
        self.webs.insert(host, web);
        Ok(())
    }

    /// Kills nginx on a host.
    pub(super) fn kill_web(&mut self, host: &'static str) -> Result<()> {
        self.webs.get_mut(host).context("no nginx")?.kill();
        Ok(())
    }

    /// Starts the daemon on a host.
    pub(super) fn daemon(&mut self, host: &'static str, conf: &str) -> Result<()> {
        let daemon = self.lab.run(host, conf)?;
        self.daemons.insert(host, daemon);
        Ok(())
    }

    /// Ends the daemon on a host as an operator does.
    pub(super) fn stop(&mut self, host: &'static str) -> Result<()> {
        self.daemons.get_mut(host).context("no daemon")?.stop().map(drop)
    }

    /// Lets the client ask an address from now on.
    pub(super) fn ask(&mut self, address: &'static str, per_second: u32) -> Result<()> {
        let to: Ipv4Addr = address.parse()?;
        let client = Arc::new(Mutex::new(HttpAsker::start(&self.lab, to, per_second)?));
        self.tickers.push(Ticker::watch(&self.clock, address, &client));
        self.clients.insert(address, client);
        Ok(())
    }

    /// Waits until a host answers, with nothing measured.
    pub(super) fn until(&self, address: &str, host: &str) -> Result<()> {
        let limit = Duration::from_secs(10);
        let done = wait_until(&format!("{host} answers at {address}"), limit, || {
            self.served_by(address) == Some(number(host))
        });
        done.map(drop).with_context(|| self.logs())
    }

    /// Lets something happen and measures what the client notices of it.
    pub(super) fn act(
        &mut self,
        what: &str,
        expect: &Expect,
        happen: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.clock.say(what);
        let begin = now();
        happen(self)?;
        let limit = expect.allowed + Duration::from_secs(8);
        let moved = wait_until("the host answers", limit, || {
            self.served_by(expect.address) == Some(number(expect.host))
        });
        pause(AFTERMATH);
        self.measure(what, expect, begin)?;
        moved.map(drop).with_context(|| self.logs())
    }

    /// Notes the longest gap at an address since a moment.
    pub(super) fn measure(&mut self, what: &str, expect: &Expect, begin: Duration) -> Result<()> {
        let client = self.clients.get(expect.address).context("nobody asks")?;
        let answers = client.lock().unwrap_or_else(PoisonError::into_inner).so_far();
        self.results.push(Outcome {
            what: what.to_owned(),
            address: expect.address,
            gap: answers.longest_gap_awake(begin, &self.pulse),
            allowed: expect.allowed,
            because: expect.because,
            right_host: answers.last() == Some(number(expect.host)),
        });
        Ok(())
    }

    /// What was measured so far.
    pub(super) fn results(&self) -> &[Outcome] {
        &self.results
    }

    /// How many requests were due and how many were answered at an address.
    pub(super) fn requests(&self, address: &str) -> Option<(u32, usize)> {
        let client = self.clients.get(address)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some((client.asked(), client.so_far().answers.len()))
    }

    /// The data path that a host's daemon uses, in its own words.
    pub(super) fn data_path(&self, host: &str) -> Option<String> {
        let status = self.daemons.get(host)?.status().ok()?;
        status.datapath("eth0").ok().map(|(path, _)| path.to_owned())
    }

    fn served_by(&self, address: &str) -> Option<u8> {
        let client = self.clients.get(address)?;
        client.lock().unwrap_or_else(PoisonError::into_inner).served_by()
    }

    fn logs(&self) -> String {
        let log =
            |(host, daemon): (&&str, &Daemon)| format!("log of {host}:\n{}", daemon.log_end());
        self.daemons.iter().map(log).collect::<Vec<_>>().join("\n")
    }

    /// Leaves all standing and says how to look around.
    pub(super) fn keep(self) {
        let Self { tickers, clients, daemons, webs, lab, .. } = self;
        drop((tickers, clients));
        let (name, dir) = (lab.name().to_owned(), lab.dir().display().to_string());
        println!("\nThe hosts are left standing, with nginx and the daemons. To look around:\n");
        println!("  ip netns exec {name}r1 ip addr show eth0");
        println!("  ip netns exec {name}client tcpdump -ni eth0 'proto 112 or arp'");
        println!(
            "  ip netns exec {name}client bash -c 'exec 3<>/dev/tcp/{ONE}/80; printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'"
        );
        for (host, daemon) in &daemons {
            if Kind::ours_under_test() {
                let run_dir = daemon.run_dir().display();
                println!("  {} status --run-dir {run_dir}    # {host}", xvrrp_binary().display());
            }
            println!("  tail -f {}    # {host}", daemon.log_file().display());
        }
        println!("  kill -TERM {}    # the daemon on r1", daemons.get("r1").map_or(0, Daemon::pid));
        println!("  ls {dir}    # configurations and logs");
        println!("  cargo xtask demo --clean    # removes it all");
        daemons.into_values().for_each(Daemon::keep);
        webs.into_values().for_each(Web::keep);
        lab.keep();
    }
}
