//! The picture: for each row that is worth one, bars with what was least and most.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use vrrp_tests::bench_args::{Measure, Who};

use crate::stats::{Summary, short};
use crate::table::{Row, Table};

const WIDTH: u32 = 1060;
const PANEL: u32 = 118;
const COLUMNS: usize = 2;
/// The end of the widest bar, in hundredths of a panel: room for names before and figures behind.
const BARS: (f64, f64) = (0.2, 0.62);

/// Sizes of letters as the library counts them, about a quarter more than pixels.
const TITLE: i32 = 16;
const FIGURE: i32 = 15;

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const PALE: RGBColor = RGBColor(0x6e, 0x77, 0x81);

/// The rows that are drawn, by how they begin.
const DRAWN: [(Measure, &str); 14] = [
    (Measure::Detect, "speaks late, stop, 1 s"),
    (Measure::Detect, "speaks late, crash, 1 s"),
    (Measure::Detect, "speaks late, stop, 10 ms"),
    (Measure::Detect, "speaks late, crash, 10 ms"),
    (Measure::Hear, "daemon"),
    (Measure::Hear, "wake-ups"),
    (Measure::Send, "daemon"),
    (Measure::Send, "wake-ups"),
    (Measure::Flood, "of the client's"),
    (Measure::Flood, "longest"),
    (Measure::Addresses, "longest silence"),
    (Measure::Reload, "longest silence"),
    (Measure::Crash, "client without an answer, 1 s"),
    (Measure::Memory, "resident"),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the table's most telling rows.
///
/// # Errors
/// The library's.
pub(crate) fn draw(table: &Table, who: &[Who]) -> Result<String> {
    let drawn = |row: &&Row| {
        DRAWN.iter().any(|(measure, what)| row.measure == *measure && row.what.starts_with(what))
    };
    let rows: Vec<_> = table.rows.iter().filter(drawn).collect();
    let lines = rows.len().div_ceil(COLUMNS).max(1);
    let mut svg = String::new();
    {
        let backend = SVGBackend::with_string(&mut svg, (WIDTH, PANEL * lines as u32));
        let root = backend.into_drawing_area();
        root.fill(&WHITE).map_err(told)?;
        let panels = root.split_evenly((lines, COLUMNS));
        for (row, panel) in rows.iter().zip(&panels) {
            draw_row(row, who, panel)?;
        }
        root.present().map_err(told)?;
    }
    // A picture without a trailing line end is one that each tool changes.
    Ok(svg.trim_end().to_owned() + "\n")
}

fn told(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture: {error}")
}

const fn color(who: Who) -> RGBColor {
    match who {
        Who::Xvrrp => RGBColor(0x1f, 0x6f, 0xeb),
        Who::Keepalived => RGBColor(0xd2, 0x99, 0x22),
        Who::Frr => RGBColor(0x8b, 0x94, 0x9e),
    }
}

fn draw_row(row: &Row, who: &[Who], panel: &Area<'_>) -> Result<()> {
    let (width, _) = panel.dim_in_pixel();
    let must = match row.limit.told() {
        must if must.is_empty() => must,
        must => format!(" (must: {must})"),
    };
    let title = format!("{}: {}{must}", row.measure.name(), row.title());
    text(panel, &title, (12, 20), TITLE, &INK, HPos::Left)?;
    let summaries: Vec<_> =
        who.iter().filter_map(|who| Some((*who, Summary::of(row.values.get(who)?)?))).collect();
    let ends = summaries.iter().flat_map(|(_, it)| [it.min, it.median, it.max]);
    let longest = ends.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let at = |value: f64| {
        let share = if longest > 0.0 { (value / longest).clamp(0.0, 1.0) } else { 0.0 };
        (f64::from(width) * (BARS.0 + share * (BARS.1 - BARS.0))).round() as i32
    };
    for ((who, summary), line) in summaries.iter().zip(0..) {
        let (top, middle) = (34 + 24 * line, 43 + 24 * line);
        text(panel, who.name(), (at(0.0) - 8, middle), FIGURE, &INK, HPos::Right)?;
        let bar = [(at(0.0), top), (at(summary.median).max(at(0.0) + 1), top + 18)];
        panel.draw(&Rectangle::new(bar, color(*who).filled())).map_err(told)?;
        let span = vec![(at(summary.min), middle), (at(summary.max), middle)];
        panel.draw(&PathElement::new(span, INK)).map_err(told)?;
        for end in [summary.min, summary.max] {
            let tick = vec![(at(end), middle - 4), (at(end), middle + 4)];
            panel.draw(&PathElement::new(tick, INK)).map_err(told)?;
        }
        let Summary { median, min, max, .. } = summary;
        let figures = format!("{} ({} … {})", short(*median), short(*min), short(*max));
        let place = (at(summary.max.max(summary.median)) + 8, middle);
        text(panel, &figures, place, FIGURE, &PALE, HPos::Left)?;
    }
    Ok(())
}

fn text(
    panel: &Area<'_>,
    words: &str,
    place: (i32, i32),
    size: i32,
    ink: &RGBColor,
    side: HPos,
) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(ink).pos(Pos::new(side, VPos::Center));
    panel.draw_text(words, &style, place).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::stats::NEVER;
    use crate::table::{Limit, figure};

    #[test]
    fn each_drawn_row_has_a_bar_for_each_daemon() {
        let mut table = Table::default();
        let late = figure(Measure::Detect, "speaks late, stop, 10 ms", "ms", Limit::median(0.15));
        table.note(Who::Xvrrp, &late, 0.07);
        table.note(Who::Keepalived, &late, 1.25);
        let other = figure(Measure::Send, "adverts per second", "", Limit::NONE);
        table.note(Who::Xvrrp, &other, 20_000.0);
        let svg = draw(&table, &Who::ALL).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3, "the ground and two bars: {svg}");
        for word in ["keepalived", "1.25 (1.25 … 1.25)", "must: ≤ 0.15"] {
            assert!(svg.contains(word), "no {word}: {svg}");
        }
        assert!(!svg.contains("FRR") && !svg.contains("20000"), "{svg}");
    }

    #[test]
    fn what_never_came_is_as_long_as_the_longest() {
        let mut table = Table::default();
        let late = figure(Measure::Detect, "speaks late, stop, 10 ms", "ms", Limit::median(0.15));
        for value in [0.1, 0.2, NEVER] {
            table.note(Who::Xvrrp, &late, value);
        }
        let svg = draw(&table, &Who::ALL).unwrap();
        assert!(svg.contains("0.2 (0.1 … never)") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_row_of_zeros_and_an_empty_table_can_be_drawn() {
        let mut table = Table::default();
        assert!(draw(&table, &Who::ALL).is_ok());
        let lost = figure(Measure::Flood, "of the client's questions lost", "%", Limit::all(0.0));
        table.note(Who::Xvrrp, &lost, 0.0);
        assert!(draw(&table, &Who::ALL).unwrap().contains("0 (0 … 0)"));
    }
}
