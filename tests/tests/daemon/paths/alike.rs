//! Routes that differ in little: each is taken off as itself.

use anyhow::{Context, Result};
use vrrp_tests::{Lab, wait_until};

use super::super::LIMIT;
use super::{none_there, routes, with};

/// Where a request names no metric, the kernel takes off an IPv6 route of any, the smallest first, and of
/// any kind.
pub(super) fn one_goes_and_the_other_stays() -> Result<()> {
    const BETTER: &str = "2001:db8:7::/48 dev eth0 metric 7";
    const WORSE: &str = "blackhole 2001:db8:7::/48";
    let lab = Lab::new(&["r1"])?;
    let conf = |lines: &[&str]| with(lines, &[]).alone(3);
    let mut r1 = lab.run("r1", &conf(&[BETTER, WORSE]))?;
    let are = |wanted: &[&str]| {
        let begins = |line: &String| wanted.iter().any(|with| line.starts_with(with));
        routes(&lab, "r1").is_ok_and(|all| all.len() == wanted.len() && all.iter().all(begins))
    };
    let there = || format!("{:?}", routes(&lab, "r1"));
    let wait = |name: &str, wanted: &[&str]| {
        wait_until(name, LIMIT, || are(wanted)).with_context(there).with_context(|| r1.log_end())
    };
    wait("both", &[BETTER, WORSE])?;
    r1.reload(&conf(&[BETTER]))?;
    wait("the better one", &[BETTER])?;
    r1.reload(&conf(&[BETTER, WORSE]))?;
    wait("both again", &[BETTER, WORSE])?;
    r1.stop()?;
    wait_until("none", LIMIT, || none_there(&lab, "r1")).with_context(there)?;
    Ok(())
}
