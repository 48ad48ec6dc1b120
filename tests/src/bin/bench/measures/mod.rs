//! What is measured, one file each.

use vrrp_tests::bench_args::Measure;

use crate::stage::Bench;
use crate::table::Table;

mod addresses;
mod bare;
mod constant;
mod crash;
mod detect;
mod flood;
mod hear;
mod memory;
mod reload;
mod scale;
mod send;
mod stall;
mod xdp;

/// Measures one thing of all daemons. What fails is noted in the table.
pub(crate) fn run(measure: Measure, bench: &Bench, table: &mut Table) {
    match measure {
        Measure::Detect => detect::run(bench, table),
        Measure::Hear => hear::run(bench, table),
        Measure::Send => send::run(bench, table),
        Measure::Flood => flood::run(bench, table),
        Measure::Addresses => addresses::run(bench, table),
        Measure::Reload => reload::run(bench, table),
        Measure::Crash => crash::run(bench, table),
        Measure::Stall => stall::run(bench, table),
        Measure::Memory => memory::run(bench, table),
        Measure::Scale => scale::run(bench, table),
        Measure::Xdp => xdp::run(bench, table),
    }
}
