//! The program behind `cargo xtask bench`, one measure from end to end.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vrrp_tests::daemon::xvrrp_binary;
use vrrp_tests::netns;

/// Runs it and gives what it wrote: the JSON, and the file that has had a table before.
fn bench(args: &[&str]) -> Result<(Value, String)> {
    let dir = tempfile::tempdir()?;
    let (json, page) = (dir.path().join("bench.json"), dir.path().join("page.md"));
    std::fs::write(
        &page,
        "Before.\n\n<!-- bench: begin -->\nold\n<!-- bench: end -->\n\nAfter.\n",
    )?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(args).arg("--json").arg(&json).arg("--markdown").arg(&page);
    command.env("XVRRP", xvrrp_binary()).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let labs = format!("xvl{}-", child.id());
    let output = child.wait_with_output()?;
    ensure!(netns::list(&labs).is_empty(), "namespaces are left");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    let json = std::fs::read_to_string(json)?;
    Ok((serde_json::from_str(&json)?, std::fs::read_to_string(page)?))
}

fn median(json: &Value, what: &str, who: &str) -> Result<f64> {
    let rows = json["rows"].as_array().context("no rows")?;
    let row = rows.iter().find(|row| row["what"].as_str() == Some(what));
    let row = row.with_context(|| format!("no {what} in {rows:?}"))?;
    row["daemons"][who]["median"].as_f64().with_context(|| format!("no {who} in {row:?}"))
}

#[test]
fn lateness_is_measured_and_written_down_and_nothing_is_left() -> Result<()> {
    let args = ["--quick", "--only", "detect", "--daemons", "xvrrp", "--runs", "1"];
    let (json, page) = bench(&args)?;
    for event in ["stop", "crash"] {
        let late = median(&json, &format!("speaks late, {event}, 10 ms"), "xvrrp")?;
        // Before its time it must not speak, and so late only a busy machine makes it.
        ensure!((-5.0..2000.0).contains(&late), "{event}: {late} ms");
    }
    ensure!(json["machine"]["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()));
    ensure!(page.starts_with("Before.") && page.ends_with("\nAfter.\n"), "{page}");
    ensure!(page.contains("| **detect** |") && !page.contains("old"), "{page}");
    Ok(())
}

#[test]
fn what_a_frame_costs_is_measured_by_kind() -> Result<()> {
    let (json, _) = bench(&["--quick", "--only", "xdp"])?;
    let cost = |what: &str| median(&json, &format!("above it: {what}"), "xvrrp");
    let (other, refused) = (cost("not VRRP")?, cost("refused")?);
    let (reported, suppressed) = (cost("accepted and reported")?, cost("accepted and suppressed")?);
    ensure!(other < refused && refused < reported, "{other} {refused} {reported}");
    ensure!(suppressed < reported, "{suppressed} {reported}");
    Ok(())
}
