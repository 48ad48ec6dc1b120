//! What was measured: rows with a column for each daemon.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vrrp_tests::bench_args::{Measure, Who};

use crate::stats::{Summary, short};

/// What xvrrp is held to. It is told beside the figures and judged by nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limit {
    pub(crate) median: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) min: Option<f64>,
}

impl Limit {
    pub(crate) const NONE: Self = Self { median: None, max: None, min: None };

    /// The median at most so much.
    pub(crate) const fn median(at_most: f64) -> Self {
        Self { median: Some(at_most), ..Self::NONE }
    }

    /// Each value at most so much.
    pub(crate) const fn all(at_most: f64) -> Self {
        Self { max: Some(at_most), ..Self::NONE }
    }

    /// Each value at least so much.
    pub(crate) const fn at_least(least: f64) -> Self {
        Self { min: Some(least), ..Self::NONE }
    }

    /// Each value just so much.
    pub(crate) const fn exactly(value: f64) -> Self {
        Self { max: Some(value), min: Some(value), ..Self::NONE }
    }

    /// And each value at most so much.
    pub(crate) const fn and_all(self, at_most: f64) -> Self {
        Self { max: Some(at_most), ..self }
    }

    /// In words.
    pub(crate) fn told(&self) -> String {
        if let (Self { median: None, .. }, Some(value)) =
            (self, self.max.filter(|_| self.max == self.min))
        {
            return format!("= {}", short(value));
        }
        let part = |word: &str, sign: char, limit: Option<f64>| {
            Some(format!("{word}{sign} {}", short(limit?))).map(|text| text.trim_start().to_owned())
        };
        let median = if self.max.is_some() { "median " } else { "" };
        let max = if self.median.is_some() { "max " } else { "" };
        let parts =
            [part(median, '≤', self.median), part(max, '≤', self.max), part("", '≥', self.min)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether it is kept.
    pub(crate) fn holds(&self, of: &Summary) -> bool {
        self.median.is_none_or(|limit| of.median <= limit)
            && self.max.is_none_or(|limit| of.max <= limit)
            && self.min.is_none_or(|limit| of.min >= limit)
    }
}

/// One row: what was measured, in which unit, and what each daemon did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) measure: Measure,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) limit: Limit,
    pub(crate) values: BTreeMap<Who, Vec<f64>>,
}

impl Row {
    fn cell(&self, who: Who) -> String {
        let Some(summary) = self.values.get(&who).and_then(|values| Summary::of(values)) else {
            return "–".to_owned();
        };
        let Summary { median, min, max, .. } = summary;
        let mark = if who == Who::Xvrrp && !self.limit.holds(&summary) { " !" } else { "" };
        format!("{} ({} … {}){mark}", short(median), short(min), short(max))
    }

    /// What was measured and in which unit.
    pub(crate) fn title(&self) -> String {
        if self.unit.is_empty() {
            self.what.clone()
        } else {
            format!("{} [{}]", self.what, self.unit)
        }
    }
}

/// All that was measured, in the order in which it was first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<(Measure, Who, String)>,
}

impl Table {
    /// Notes one value.
    pub(crate) fn note(&mut self, who: Who, figure: &Figure, value: f64) {
        let same = |row: &&mut Row| row.measure == figure.measure && row.what == figure.what;
        let values = match self.rows.iter_mut().find(same) {
            Some(row) => &mut row.values,
            None => {
                self.rows.push(Row {
                    measure: figure.measure,
                    what: figure.what.clone(),
                    unit: figure.unit,
                    limit: figure.limit,
                    values: BTreeMap::new(),
                });
                &mut self.rows.last_mut().expect("it was just pushed").values
            }
        };
        values.entry(who).or_default().push(value);
    }

    /// Notes all values of one run, or why there are none.
    pub(crate) fn note_run(
        &mut self,
        measure: Measure,
        who: Who,
        run: anyhow::Result<Vec<(Figure, f64)>>,
    ) {
        match run {
            Ok(figures) => {
                for (figure, value) in &figures {
                    self.note(who, figure, *value);
                }
            }
            Err(error) => {
                eprintln!(
                    "  {} of {} could not be measured: {error:#}",
                    measure.name(),
                    who.name()
                );
                self.failures.push((measure, who, format!("{error:#}")));
            }
        }
    }

    /// The rows of one measure as lines for a terminal.
    pub(crate) fn text(&self, measure: Measure, who: &[Who]) -> String {
        let rows: Vec<_> = self.rows.iter().filter(|row| row.measure == measure).collect();
        let mut lines = vec![heading(who)];
        lines.extend(rows.iter().map(|row| cells(row, who)));
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..who.len() + 2).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let _ = writeln!(text, "  {}", padded.collect::<Vec<_>>().join("  ").trim_end());
        }
        text
    }

    /// All rows as a table for Markdown.
    pub(crate) fn markdown(&self, who: &[Who]) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&heading(who));
        text += &line(&vec!["---".to_owned(); who.len() + 2]);
        let mut measure = None;
        for row in &self.rows {
            if measure.replace(row.measure) != Some(row.measure) {
                let mut name = vec![String::new(); who.len() + 2];
                name[0] = format!("**{}**", row.measure.name());
                text += &line(&name);
            }
            text += &line(&cells(row, who));
        }
        text
    }
}

fn heading(who: &[Who]) -> Vec<String> {
    let names = who.iter().map(|who| who.name().to_owned());
    std::iter::once("median (min … max)".to_owned())
        .chain(names)
        .chain(["must".to_owned()])
        .collect()
}

fn cells(row: &Row, who: &[Who]) -> Vec<String> {
    let values = who.iter().map(|who| row.cell(*who));
    std::iter::once(row.title()).chain(values).chain([row.limit.told()]).collect()
}

/// What a value is of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) measure: Measure,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) limit: Limit,
}

/// Makes a figure.
pub(crate) fn figure(
    measure: Measure,
    what: impl Into<String>,
    unit: &'static str,
    limit: Limit,
) -> Figure {
    Figure { measure, what: what.into(), unit, limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::NEVER;

    fn late() -> Figure {
        figure(Measure::Detect, "late, stop, 10 ms", "ms", Limit::median(0.15).and_all(1.0))
    }

    fn table() -> Table {
        let mut table = Table::default();
        for value in [0.3, 0.1, 0.12] {
            table.note(Who::Xvrrp, &late(), value);
        }
        table.note(Who::Keepalived, &late(), 1.5);
        let lost = figure(Measure::Flood, "questions lost", "", Limit::all(0.0));
        table.note(Who::Xvrrp, &lost, 2.0);
        table
    }

    #[test]
    fn a_row_is_made_once_and_keeps_its_values_by_daemon() {
        let table = table();
        assert_eq!(table.rows.len(), 2);
        assert_eq!(table.rows[0].values[&Who::Xvrrp], [0.3, 0.1, 0.12]);
        assert_eq!(table.rows[0].values[&Who::Keepalived], [1.5]);
    }

    #[test]
    fn the_text_has_three_numbers_the_limit_and_a_mark_where_it_is_not_kept() {
        let text = table().text(Measure::Detect, &[Who::Xvrrp, Who::Frr]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].contains("late, stop, 10 ms [ms]  0.12 (0.1 … 0.3)  –"), "{text}");
        assert!(lines[1].ends_with("median ≤ 0.15, max ≤ 1"), "{text}");
        let text = table().text(Measure::Flood, &[Who::Xvrrp]);
        assert!(text.contains("2 (2 … 2) !  ≤ 0"), "{text}");
    }

    #[test]
    fn the_markdown_names_each_measure_once() {
        let text = table().markdown(&[Who::Xvrrp, Who::Keepalived]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "| median (min … max) | xvrrp | keepalived | must |");
        assert_eq!(lines[1], "| --- | --- | --- | --- |");
        assert_eq!(lines[2], "| **detect** |  |  |  |");
        assert!(
            lines[3].contains("| 0.12 (0.1 … 0.3) | 1.5 (1.5 … 1.5) | median ≤ 0.15, max ≤ 1 |")
        );
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn limits_hold_for_what_they_are_of() {
        let summary = |median, min, max| Summary { median, min, max, count: 3 };
        assert!(Limit::median(1.0).holds(&summary(1.0, 0.0, 9.0)));
        assert!(!Limit::median(1.0).and_all(5.0).holds(&summary(1.0, 0.0, 9.0)));
        assert!(!Limit::at_least(19_990.0).holds(&summary(20_000.0, 19_000.0, 20_000.0)));
        assert_eq!(Limit::at_least(19_990.0).told(), "≥ 19990");
        assert_eq!(Limit::NONE.told(), "");
        let one = Limit::exactly(1.0);
        assert!(one.holds(&summary(1.0, 1.0, 1.0)));
        assert!(!one.holds(&summary(1.0, 0.0, 1.0)) && !one.holds(&summary(1.0, 1.0, 2.0)));
        assert_eq!(one.told(), "= 1");
    }

    #[test]
    fn what_never_came_misses_its_limit() {
        let mut table = table();
        table.note(Who::Xvrrp, &late(), NEVER);
        let text = table.text(Measure::Detect, &[Who::Xvrrp]);
        assert!(text.contains("0.21 (0.1 … never) !"), "{text}");
    }

    #[test]
    fn a_failed_run_is_kept() {
        let mut table = Table::default();
        table.note_run(Measure::Hear, Who::Frr, Err(anyhow::anyhow!("silent")));
        table.note_run(Measure::Hear, Who::Xvrrp, Ok(vec![(late(), 1.0)]));
        assert_eq!(table.failures, [(Measure::Hear, Who::Frr, "silent".to_owned())]);
        assert_eq!(table.rows.len(), 1);
    }
}
