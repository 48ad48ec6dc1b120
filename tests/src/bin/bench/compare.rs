//! This run beside an earlier one, from the JSON that it wrote.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;
use vrrp_tests::bench_args::Who;

use crate::stats::{NEVER, Summary, short};
use crate::table::{Row, Table};

/// Reads what an earlier run wrote with `--json`.
///
/// # Errors
/// The file system's, or it is something else.
pub(crate) fn read(path: &Path) -> Result<Value> {
    let named = || format!("can't compare with {}", path.display());
    let text = fs::read_to_string(path).with_context(named)?;
    let json: Value = serde_json::from_str(&text).with_context(named)?;
    json["rows"].as_array().context("it has no rows").with_context(named)?;
    Ok(json)
}

/// Each row of xvrrp's: the earlier median, this one, and the second as a share of the first. `!` stands
/// where this run does not keep what it must, `*` where that one did not either.
pub(crate) fn text(earlier: &Value, table: &Table) -> String {
    let mut lines = vec![["xvrrp, median", "then", "now", "now/then", "must"].map(str::to_owned)];
    lines.extend(table.rows.iter().filter_map(|row| line(earlier, row)));
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "  {}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn line(earlier: &Value, row: &Row) -> Option<[String; 5]> {
    let now = Summary::of(row.values.get(&Who::Xvrrp)?)?;
    let then = values(earlier, row).and_then(|values| Summary::of(&values));
    let mark = match then.map(|then| row.limit.holds(&then)) {
        _ if row.limit.holds(&now) => "",
        Some(false) => " *",
        Some(true) | None => " !",
    };
    // Of nothing, of a time that may be negative and of what never came there is no share.
    let share = then
        .filter(|then| then.median > 0.0 && then.median < NEVER)
        .map(|then| now.median / then.median);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    Some([
        format!("{}: {}", row.measure.name(), row.title()),
        or_none(then.map(|then| short(then.median))),
        format!("{}{mark}", short(now.median)),
        or_none(share.map(|share| format!("{share:.2}"))),
        row.limit.told(),
    ])
}

/// The values that the earlier run has of the same.
fn values(earlier: &Value, row: &Row) -> Option<Vec<f64>> {
    let same = |one: &&Value| {
        one["measure"] == row.measure.name() && one["what"] == row.what && one["unit"] == row.unit
    };
    let found = earlier["rows"].as_array()?.iter().find(same)?;
    let values = found["daemons"][Who::Xvrrp.name()]["values"].as_array()?;
    // JSON has no infinity.
    Some(values.iter().map(|value| value.as_f64().unwrap_or(NEVER)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrrp_tests::bench_args::Measure;

    use super::*;
    use crate::table::{Limit, figure};

    #[test]
    fn each_row_stands_beside_the_earlier_one() {
        let mut table = Table::default();
        let late = figure(Measure::Detect, "late", "ms", Limit::median(0.15));
        let cost = figure(Measure::Send, "cost", "", Limit::all(1.0));
        let new = figure(Measure::Scale, "new", "MiB", Limit::NONE);
        for (figure, value) in [(&late, 0.3), (&cost, 3.0), (&new, 7.0)] {
            table.note(Who::Xvrrp, figure, value);
        }
        table.note(Who::Frr, &figure(Measure::Send, "theirs", "", Limit::NONE), 1.0);
        let row = |measure: &str, what: &str, unit: &str, values: &[f64]| {
            json!({"measure": measure, "what": what, "unit": unit,
                   "daemons": {"xvrrp": {"values": values}}})
        };
        let earlier = json!({"rows": [
            row("detect", "late", "ms", &[0.1, 0.2, 0.12]), row("send", "cost", "", &[2.0]),
            row("detect", "new", "MiB", &[5.0]),
        ]});
        let text = text(&earlier, &table);
        let words: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["detect:", "late", "[ms]", "0.12", "0.3", "!", "2.50", "≤", "0.15"]);
        assert_eq!(words[2], ["send:", "cost", "2", "3", "*", "1.50", "≤", "1"]);
        assert_eq!(words[3], ["scale:", "new", "[MiB]", "–", "7", "–"]);
        assert_eq!(words.len(), 4);
    }
}
