//! The files: every value as JSON, the table for the documentation, the picture.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use vrrp_tests::bench_args::BenchArgs;

use crate::machine::Machine;
use crate::picture;
use crate::stats::Summary;
use crate::table::{Limit, Row, Table};

/// What stands before and after the table in a file that has more than it.
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Writes what was asked for.
///
/// # Errors
/// The file system's.
pub(crate) fn write(args: &BenchArgs, machine: &Machine, table: &Table) -> Result<()> {
    if let Some(path) = &args.json {
        put(path, &format!("{:#}\n", json(machine, table)))?;
    }
    if let Some(path) = &args.markdown {
        let old = fs::read_to_string(path).unwrap_or_default();
        let new = format!("{}.\n\n{}", machine.told(), table.markdown(&args.daemons()));
        put(path, &framed(&old, &new))?;
    }
    if let Some(path) = &args.svg {
        put(path, &picture::draw(table, &args.daemons())?)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}

/// The old text with the new table in the place of its own, or the new table alone.
fn framed(old: &str, new: &str) -> String {
    let new = format!("{BEGIN}\n{new}{END}\n");
    let around = old.split_once(BEGIN).and_then(|(before, rest)| {
        Some((before, rest.split_once(END)?.1.trim_start_matches('\n')))
    });
    match around {
        Some((before, "")) => format!("{before}{new}"),
        Some((before, after)) => format!("{before}{new}\n{after}"),
        None => new,
    }
}

/// Everything, so that it can be judged otherwise than here.
fn json(machine: &Machine, table: &Table) -> Value {
    let Machine { cpu, cores, kernel, date, load, versions } = machine;
    let versions: Map<String, Value> =
        versions.iter().map(|(who, version)| (who.name().to_owned(), json!(version))).collect();
    let failures: Vec<_> = table
        .failures
        .iter()
        .map(|(measure, who, why)| json!({"measure": measure.name(), "daemon": who.name(), "why": why}))
        .collect();
    json!({
        "machine": {
            "cpu": cpu, "cores": cores, "kernel": kernel, "date": date, "load": load,
            "versions": versions,
        },
        "rows": table.rows.iter().map(row).collect::<Vec<_>>(),
        "failures": failures,
    })
}

fn row(row: &Row) -> Value {
    let values = row.values.iter().filter_map(|(who, values)| {
        let Summary { median, min, max, .. } = Summary::of(values)?;
        let value = json!({"median": median, "min": min, "max": max, "values": values});
        Some((who.name().to_owned(), value))
    });
    let Limit { median, max, min } = row.limit;
    json!({
        "measure": row.measure.name(),
        "what": row.what,
        "unit": row.unit,
        "must": {"median_at_most": median, "each_at_most": max, "each_at_least": min},
        "daemons": values.collect::<Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrrp_tests::bench_args::{Measure, Who};

    use crate::table::figure;

    #[test]
    fn a_table_takes_the_place_of_the_old_one() {
        let alone = framed("", "a\n");
        assert_eq!(alone, format!("{BEGIN}\na\n{END}\n"));
        assert_eq!(framed(&alone, "b\n"), format!("{BEGIN}\nb\n{END}\n"));
        let file = format!("# Title\n\n{alone}\nMore.\n");
        let again = framed(&file, "b\n");
        assert_eq!(again, format!("# Title\n\n{BEGIN}\nb\n{END}\n\nMore.\n"));
        assert_eq!(framed(&again, "b\n"), again);
    }

    #[test]
    fn the_json_has_every_value_and_every_failure() {
        let mut table = Table::default();
        let late = figure(Measure::Detect, "late", "ms", Limit::median(0.15));
        table.note(Who::Xvrrp, &late, 0.25);
        table.note(Who::Xvrrp, &late, 0.75);
        table.note_run(Measure::Hear, Who::Frr, Err(anyhow::anyhow!("silent")));
        let machine = Machine::look(&[]);
        let value = json(&machine, &table);
        assert_eq!(value["rows"][0]["daemons"]["xvrrp"]["values"], json!([0.25, 0.75]));
        assert_eq!(value["rows"][0]["daemons"]["xvrrp"]["median"], json!(0.5));
        assert_eq!(value["rows"][0]["must"]["median_at_most"], json!(0.15));
        assert_eq!(value["failures"][0]["daemon"], json!("FRR"));
    }
}
