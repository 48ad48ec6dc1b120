//! The program behind `cargo xtask bench`: xvrrp, keepalived and FRR side by side.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use vrrp_tests::bench_args::BenchArgs;
use vrrp_tests::lab::{remove_on_interrupt, sweep_the_dead};

mod compare;
mod machine;
mod measures;
mod output;
mod picture;
mod stage;
mod stats;
mod table;

use machine::Machine;
use stage::Bench;
use table::Table;

#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench")]
struct Cli {
    #[command(flatten)]
    args: BenchArgs,
}

fn main() -> ExitCode {
    match measure_all(&Cli::parse().args) {
        Ok(table) if table.failures.is_empty() => ExitCode::SUCCESS,
        Ok(table) => {
            eprintln!("{} runs could not be measured:", table.failures.len());
            for (measure, who, error) in &table.failures {
                let first = error.lines().next().unwrap_or_default();
                eprintln!("  {} of {}: {first}", measure.name(), who.name());
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(args: &BenchArgs) -> Result<Table> {
    // First: it would be a pity after all that measuring.
    let earlier = args.compare.as_deref().map(compare::read).transpose()?;
    // Named so that a later run of the laboratory removes what a killed one leaves.
    let prefix = format!("xvl{}-", std::process::id());
    sweep_the_dead();
    remove_on_interrupt(&prefix)?;
    let machine = Machine::look(&args.daemons());
    println!("{}", machine.told());
    println!("`must` is what xvrrp is held to, and `!` marks where it is not kept\n");
    let bench = Bench::new(args, &prefix);
    let mut table = Table::default();
    for measure in args.measures() {
        stage::settle();
        let begin = Instant::now();
        measures::run(measure, &bench, &mut table);
        println!("{}: {} ({:.0} s)", measure.name(), measure.what(), begin.elapsed().as_secs_f64());
        println!("{}", table.text(measure, &bench.daemons));
    }
    if let Some(earlier) = &earlier {
        println!("beside the earlier run:\n{}", compare::text(earlier, &table));
    }
    output::write(args, &machine, &table)?;
    Ok(table)
}
