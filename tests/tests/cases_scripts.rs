//! Check scripts and notify commands, as seen from the wire and by what they write.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vrrp_tests::conf::{Conf, Instance};
use vrrp_tests::daemon::xvrrp;
use vrrp_tests::wait::{BUSY, pause, together};
use vrrp_tests::{Capture, Daemon, Kind, Lab, now, wait_until};

const VIP: &str = "192.0.2.250";
const LIMIT: Duration = Duration::from_secs(30);

/// A configuration with a script `chk`, tracked by the instance.
fn watched(priority: u8, script: &[&str]) -> Conf {
    Conf::new(2)
        .global("script_user root")
        .script("chk", script)
        .with(Instance::new(priority).track("track_script", &["chk"]))
}

/// The priority of the host's last advert.
fn said(wire: &Capture, host: &str) -> Option<u8> {
    wire.adverts_of(host).last().map(|seen| seen.advert.priority)
}

/// Waits until the host says this priority.
fn says(wire: &Capture, host: &str, priority: u8) -> Result<()> {
    let what = format!("{host} says {priority}");
    wait_until(&what, LIMIT, || said(wire, host) == Some(priority))
        .map(drop)
        .with_context(|| format!("it says {:?}", said(wire, host)))
}

#[test]
fn what_is_run() -> Result<()> {
    together(&[
        ("added by a reload", b43_script_added_by_reload),
        ("missing or not executable", b49_script_missing_or_not_executable),
        ("quoted", c14_script_quoting),
    ])
}

#[test]
fn what_is_told() -> Result<()> {
    together(&[
        ("before the first result", b52_before_the_first_result),
        ("arguments of notify commands", b55_notify_arguments),
    ])
}

/// A script that a reload adds does not disturb a MASTER before it has a result.
fn b43_script_added_by_reload() -> Result<()> {
    together(&[("it succeeds", || added(0)), ("it fails", || added(1))])
}

fn added(exit: u8) -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let slow = lab.write("slow.sh", &format!("#!/bin/sh\nsleep 5\nexit {exit}\n"))?;
    let r1 = lab.run("r1", &Instance::new(100).alone(2))?;
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP))?;
    pause(1500);
    let script = format!("script \"{}\"", slow.display());
    r1.reload(&watched(100, &[&script, "interval 8", "timeout 7"]).text())?;
    pause(3500);
    ensure!(lab.holds("r1", VIP), "let go before the first result: {}", r1.log_end());
    ensure!(r1.count_log("Entering MASTER") == 1, "changed before the first result");
    if exit == 0 {
        pause(5000);
        ensure!(lab.holds("r1", VIP), "let go after a success");
        ensure!(r1.count_log("Entering MASTER") == 1, "it changed its state");
    } else {
        r1.wait_log("Entering FAULT", LIMIT)?;
        wait_until("it lets go", LIMIT, || !lab.holds("r1", VIP))?;
    }
    Ok(())
}

#[test]
fn b47_weight_arithmetic() -> Result<()> {
    together(&[("weight -20", minus_twenty), ("weight 20", plus_twenty), ("weight -5", minus_five)])
}

/// A laboratory with the service's file there, r1 at 100 watching it, r2 at 90.
fn service(
    weight: &str,
    first: u8,
    play: impl FnOnce(&Lab, &Capture, &Path) -> Result<()>,
) -> Result<()> {
    let lab = Lab::new(&["r1", "r2", "client"])?;
    let wire = lab.capture("client")?;
    let file = lab.write("service", "up")?;
    let script = format!("script \"/usr/bin/test -e {}\"", file.display());
    let lines = [&script, "interval 1", "fall 3", "rise 2", weight];
    let r1 = lab.run("r1", &watched(100, &lines).text())?;
    says(&wire, "r1", first).with_context(|| r1.log_end())?;
    let _r2 = lab.run("r2", &Instance::new(90).alone(2))?;
    pause(2500);
    play(&lab, &wire, &file).with_context(|| r1.log_end())
}

fn minus_twenty() -> Result<()> {
    service("weight -20", 100, |lab, wire, file| {
        std::fs::remove_file(file)?;
        let gone = now();
        says(wire, "r1", 80)?;
        let fell = wire.adverts_of("r1").pop().context("silent")?.at - gone;
        ensure!(fell > Duration::from_millis(1900), "80 after {fell:?}: before three failures");
        ensure!(fell < Duration::from_millis(4600) + BUSY, "80 after {fell:?}");
        wait_until("r2 takes over", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r2"])?;
        std::fs::write(file, "up")?;
        wait_until("r1 takes it back", LIMIT, || lab.holders(&["r1", "r2"], VIP) == ["r1"])?;
        says(wire, "r1", 100)
    })
}

fn plus_twenty() -> Result<()> {
    service("weight 20", 120, |lab, wire, file| {
        std::fs::remove_file(file)?;
        says(wire, "r1", 100)?;
        pause(5000);
        ensure!(lab.holders(&["r1", "r2"], VIP) == ["r1"], "not r1 alone");
        ensure!(said(wire, "r1") == Some(100), "it says {:?}", said(wire, "r1"));
        Ok(())
    })
}

fn minus_five() -> Result<()> {
    service("weight -5", 100, |lab, wire, file| {
        std::fs::remove_file(file)?;
        says(wire, "r1", 95)?;
        pause(5000);
        ensure!(lab.holders(&["r1", "r2"], VIP) == ["r1"], "not r1 alone");
        Ok(())
    })
}

/// A script that can't run is a failed check, said by `check` and by the log.
fn b49_script_missing_or_not_executable() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    together(&[
        ("there is no such file", || unwatched("/no/such/script.sh", None)),
        ("it is not executable", || unwatched("plain.sh", None)),
        ("there is no such user", || unwatched("/bin/true", Some("nosuchuser"))),
    ])
}

fn unwatched(script: &str, user: Option<&str>) -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let plain = lab.write("plain.sh", "exit 0\n")?.display().to_string();
    let script = if script == "plain.sh" { &plain } else { script };
    let line = format!("script \"{script}\"");
    let user_line = user.map(|user| format!("user {user}"));
    let mut lines = vec![line.as_str(), "interval 1"];
    lines.extend(user_line.as_deref());
    let text = watched(100, &lines).text();
    let file = lab.write("checked.conf", &text)?.display().to_string();
    let checked = xvrrp(&["check", "-f", &file])?;
    ensure!(!checked.status.success(), "check finds nothing");
    let words = [checked.stdout, checked.stderr].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    ensure!(words.contains("chk") || words.contains(script), "check does not name it: {words}");
    if let Some(user) = user {
        ensure!(words.contains(user), "check does not name the user: {words}");
    }

    let mut r1 = lab.run("r1", &text)?;
    pause(6000);
    ensure!(!lab.holds("r1", VIP), "MASTER unwatched: {}", r1.log_end());
    let log = r1.log();
    ensure!(log.contains("chk") || log.contains(script), "the log does not name it:\n{log}");
    if r1.exited()?.is_none() {
        ensure!(r1.status()?.instance("VI_1")?.state() == "FAULT", "{}", r1.log_end());
    }
    Ok(())
}

fn b52_before_the_first_result() -> Result<()> {
    together(&[
        ("waits for it", waits_for_the_first_result),
        ("init_fail", init_fail),
        ("the link comes up meanwhile", link_up_meanwhile),
    ])
}

/// Starts r1 and does not wait for its first state, which it has no earlier than the script's result.
fn unheard(lab: &Lab, conf: &Conf) -> Result<Daemon> {
    Daemon::start(lab, Kind::under_test(), "r1", &conf.text(), &[])
}

fn slow_script(lab: &Lab) -> Result<String> {
    let slow = lab.write("slow.sh", "#!/bin/sh\nsleep 6\nexit 0\n")?;
    Ok(format!("script \"{}\"", slow.display()))
}

fn waits_for_the_first_result() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let script = slow_script(&lab)?;
    let r1 = unheard(&lab, &watched(100, &[&script, "interval 10", "timeout 9"]))?;
    pause(4500);
    ensure!(!lab.holds("r1", VIP), "MASTER before the first result: {}", r1.log_end());
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    r1.wait_log("Entering MASTER", LIMIT)?;
    let log = r1.log();
    let backup = log.find("Entering BACKUP").context("never BACKUP")?;
    let master = log.find("Entering MASTER").context("never MASTER")?;
    ensure!(backup < master, "MASTER before BACKUP");
    Ok(())
}

fn init_fail() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let lines = ["script \"/bin/true\"", "interval 2", "rise 3", "init_fail"];
    let r1 = lab.run("r1", &watched(100, &lines).text())?;
    if Kind::ours_under_test() {
        // Three successes take four seconds.
        wait_until("it has failed at first", LIMIT, || {
            r1.status().is_ok_and(|s| s.instance("VI_1").is_ok_and(|one| one.state() == "FAULT"))
        })
        .with_context(|| r1.log_end())?;
    } else {
        pause(3500);
    }
    ensure!(!lab.holds("r1", VIP), "MASTER before three successes");
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    Ok(())
}

fn link_up_meanwhile() -> Result<()> {
    let lab = Lab::new(&["r1", "client"])?;
    let script = slow_script(&lab)?;
    lab.carrier("r1", false)?;
    let r1 = unheard(&lab, &watched(100, &[&script, "interval 10", "timeout 9"]))?;
    pause(1500);
    lab.carrier("r1", true)?;
    pause(3000);
    ensure!(!lab.holds("r1", VIP), "MASTER before the first result: {}", r1.log_end());
    wait_until("r1 is MASTER", LIMIT, || lab.holds("r1", VIP)).with_context(|| r1.log_end())?;
    Ok(())
}

/// The specific command with its own arguments, then the general one with its own and keepalived's
/// four words behind them.
fn b55_notify_arguments() -> Result<()> {
    let lab = Lab::new(&["r1", "gen", "client"])?;
    let told = lab.dir().join("told");
    let blank = lab.dir().join("with blank");
    std::fs::create_dir(&blank)?;
    let text = format!("#!/bin/sh\necho \"$(basename \"$0\")|$*\" >> {}\n", told.display());
    lab.write("with blank/one.sh", &text)?;
    lab.write("any.sh", &text)?;
    let (one, any) = (blank.join("one.sh"), lab.dir().join("any.sh"));
    let specific = |state: &str| format!("notify_{state} \"'{}' my {state}\"", one.display());
    let mut instance = Instance::new(100).line(&format!("notify \"{} all\"", any.display()));
    for state in ["master", "backup", "fault", "stop"] {
        instance = instance.line(&specific(state));
    }
    // A sync group of one tells the same beside it, to a file of its own.
    let group_told = lab.dir().join("group-told");
    let text = format!("#!/bin/sh\necho \"group|$*\" >> {}\n", group_told.display());
    let group = lab.write("group.sh", &text)?.display().to_string();
    let of_group = |keyword: &str, own: &str| format!("{keyword} \"{group} {own}\"");
    let mut group_lines = vec![of_group("notify", "all")];
    group_lines.extend(STATES.map(|(lower, _)| of_group(&format!("notify_{lower}"), lower)));
    let group_lines: Vec<&str> = group_lines.iter().map(String::as_str).collect();
    let conf = Conf::new(2).global("script_user root").with(instance);
    let conf = conf.group("G", &["VI_1"], &group_lines);
    let mut r1 = lab.run("r1", &conf.text())?;
    let read = |path: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let lines = || read(&told);
    let reached =
        |count: usize| wait_until(&format!("{count} calls"), LIMIT, || lines().len() >= count);
    reached(4).with_context(|| format!("{:?}\n{}", lines(), r1.log_end()))?;
    let higher = vrrp_tests::cases::frame("P19-master-hears", "higher-150");
    lab.inject("gen", &higher)?;
    reached(6)?;
    lab.carrier("r1", false)?;
    reached(8)?;
    r1.stop()?;
    reached(10).with_context(|| format!("{:?}\n{}", lines(), r1.log_end()))?;
    pause(500);
    let state = |state: &str, capital: &str| {
        [format!("one.sh|my {state}"), format!("any.sh|all INSTANCE VI_1 {capital} 100")]
    };
    let of_group = |lower: &str, capital: &str| {
        [format!("group|{lower}"), format!("group|all GROUP G {capital} 0")]
    };
    let want: Vec<String> =
        STATES.iter().flat_map(|(lower, capital)| state(lower, capital)).collect();
    let want_of_group: Vec<String> =
        STATES.iter().flat_map(|(lower, capital)| of_group(lower, capital)).collect();
    for (mut got, mut want) in [(lines(), want), (read(&group_told), want_of_group)] {
        if !Kind::ours_under_test() {
            // keepalived starts them all at once: which one writes first is left to the scheduler.
            want.sort();
            got.sort();
        }
        ensure!(got == want, "calls {got:#?}");
    }
    Ok(())
}

/// What B55's router goes through.
const STATES: [(&str, &str); 5] = [
    ("backup", "BACKUP"),
    ("master", "MASTER"),
    ("backup", "BACKUP"),
    ("fault", "FAULT"),
    ("stop", "STOP"),
];

/// What C14 runs, each by the path that is written there.
const PROGRAMS: [&str; 5] = ["/bin/sh", "/bin/bash", "/bin/true", "/bin/echo", "/usr/bin/test"];

/// Puts a recorder before each program of C14 that only the daemon and its children meet: it notes
/// time and arguments, and then does what the program does. Where there is a file `slow`, `test`
/// takes 0.8 s. Returns the notes and the command to start the daemon through.
fn recorder(lab: &Lab) -> Result<(PathBuf, String)> {
    use std::os::unix::fs::PermissionsExt;
    let (told, real) = (lab.write("told", "")?, lab.dir().join("real"));
    std::fs::set_permissions(&told, std::fs::Permissions::from_mode(0o666))?;
    std::fs::create_dir(&real)?;
    for program in PROGRAMS {
        let name = Path::new(program).file_name().context("a program has a name")?;
        std::fs::copy(program, real.join(name)).with_context(|| program.to_owned())?;
    }
    let (dir, real) = (lab.dir().display(), real.display());
    let script = format!(
        "#!{real}/bash\n\
         line=\"$EPOCHREALTIME $0\"\n\
         for word in \"$@\"; do line+=\"|$word\"; done\n\
         echo \"$line\" >> {dir}/told\n\
         [ \"${{0##*/}}\" = test ] && [ -e {dir}/slow ] && sleep 0.8\n\
         exec {real}/${{0##*/}} \"$@\"\n"
    );
    let recorder = lab.write("recorder", &script)?.display().to_string();
    // `ip netns exec` has given the daemon a mount namespace of its own.
    let mounts = PROGRAMS.map(|program| format!("mount --bind {recorder} {program}")).join(" && ");
    Ok((told, format!("{mounts} && exec \"$0\" \"$@\"")))
}

/// What was run so far: when, and with which arguments behind the path.
fn calls(told: &Path) -> Vec<(f64, String)> {
    let text = std::fs::read_to_string(told).unwrap_or_default();
    let call = |line: &str| {
        let (at, call) = line.split_once(' ')?;
        Some((at.parse().ok()?, call.to_owned()))
    };
    text.lines().filter_map(call).collect()
}

/// Quoted commands, bare ones, one for a shell, and the times with a fraction.
fn c14_script_quoting() -> Result<()> {
    if !Kind::ours_under_test() {
        return Ok(());
    }
    let lab = Lab::new(&["r1", "client"])?;
    let wire = lab.capture("client")?;
    let (told, setup) = recorder(&lab)?;
    let conf = vrrp_tests::cases::configuration("C14-script-quoting");
    let through = ["/bin/sh", "-c", &setup];
    let r1 = Daemon::start_through(&lab, Kind::under_test(), "r1", &conf, &through)?;
    // Nobody listens at 127.0.0.1:80: the weight where it is tracked counts, not its own.
    says(&wire, "r1", 70).with_context(|| r1.log_end())?;
    pause(6000);
    let mut ran: Vec<String> = calls(&told).into_iter().map(|(_, call)| call).collect();
    // Which comes first, BACKUP or the first failure, is left to the scheduler.
    for call in &mut ran {
        *call = call.replace("BACKUP|100", "BACKUP|70");
    }
    ran.sort();
    ran.dedup();
    let want = [
        "/bin/bash|-c|</dev/tcp/127.0.0.1/80",
        "/bin/echo|INSTANCE|VI_1|BACKUP|70",
        "/bin/echo|INSTANCE|VI_1|MASTER|70",
        "/bin/echo|now master|on|VI_1",
        "/bin/sh|-c|test -d /tmp",
        "/bin/true",
        "/usr/bin/test|-d|/tmp",
    ];
    ensure!(ran == want, "it ran {ran:#?}\n{}", r1.log_end());
    for (call, interval) in [(want[4], 2.0), (want[5], 1.0), (want[6], 1.5), (want[0], 1.0)] {
        let at: Vec<f64> =
            calls(&told).into_iter().filter(|one| one.1 == call).map(|one| one.0).collect();
        let [first, .., last] = at[..] else { bail!("{call} ran once") };
        let each = (last - first) / (at.len() - 1) as f64;
        ensure!((each - interval).abs() < 0.45, "{call} each {each:.3} s, not {interval}");
    }

    // A shell that knows /dev/tcp: when somebody listens there, the check succeeds.
    let web = lab.ns("r1").enter(|| Ok(TcpListener::bind("127.0.0.1:80")?))?;
    says(&wire, "r1", 100).with_context(|| r1.log_end())?;
    drop(web);
    says(&wire, "r1", 70)?;

    // 0.8 s are less than the interval, and more than the time that is written.
    let script = || -> Result<(String, String)> {
        let status = r1.status()?;
        let (health, last) = status.script("bare_args")?;
        Ok((health.to_owned(), last.to_owned()))
    };
    wait_until("it is good", LIMIT, || script().is_ok_and(|(health, _)| health == "good"))?;
    lab.write("slow", "")?;
    wait_until("it times out", LIMIT, || script().is_ok_and(|(health, _)| health == "bad"))?;
    ensure!(script()?.1.contains("500ms"), "{:?}", script()?);
    wait_until("it is in FAULT", LIMIT, || {
        r1.status().is_ok_and(|s| s.instance("VI_1").is_ok_and(|one| one.state() == "FAULT"))
    })?;
    Ok(())
}
