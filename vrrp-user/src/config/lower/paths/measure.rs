//! What a line of `virtual_routes` tells TCP and others of the way.

use vrrp_proto::paths::{Measure, Quantity};

use super::super::super::ast::Word;
use super::line::{Line, Read, number, twice, wrong};

/// All of that.
#[derive(Default)]
pub(super) struct Measures {
    pub(super) all: Vec<Measure>,
    /// How it avoids congestion, and whether that stays.
    pub(super) congestion: Option<(String, bool)>,
}

impl Measures {
    /// Takes a word in, with what is behind it; `false`: it is another one's.
    pub(super) fn take<'w>(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        if word.text == "congctl" {
            let locked = line.takes("lock");
            let name = line.value(word)?.text.clone();
            line.once(&mut self.congestion, (name, locked), word)?;
            return Ok(true);
        }
        let Some(quantity) = Quantity::ALL.into_iter().find(|one| one.word() == word.text) else {
            return Ok(false);
        };
        if self.all.iter().any(|measure| measure.quantity == quantity) {
            return Err(twice(word).into());
        }
        let locked = lockable(quantity) && line.takes("lock");
        let value = match kind_of(quantity) {
            Value::Feature => {
                let value = line.value(word)?;
                if value.text != "ecn" {
                    return Err(
                        wrong(word, value, "write `ecn`: there is no other".to_owned()).into()
                    );
                }
                1
            }
            Value::Time => {
                let value = line.value(word)?;
                let time = time(&value.text, quantity.units());
                time.ok_or_else(|| {
                    wrong(word, value, "write a number with `s` or `ms` behind it".to_owned())
                })?
            }
            Value::UpTo(most) => line.number(word, most)?,
        };
        self.all.push(Measure { quantity, value, locked });
        Ok(true)
    }
}

/// What stands behind a word of what TCP is told.
enum Value {
    UpTo(u32),
    Time,
    Feature,
}

fn kind_of(quantity: Quantity) -> Value {
    match quantity {
        Quantity::Features => Value::Feature,
        Quantity::Rtt | Quantity::RttVar | Quantity::RtoMin => Value::Time,
        Quantity::HopLimit => Value::UpTo(255),
        Quantity::QuickAck | Quantity::FastOpenNoCookie => Value::UpTo(1),
        Quantity::Mtu
        | Quantity::Window
        | Quantity::SsThresh
        | Quantity::Cwnd
        | Quantity::AdvMss
        | Quantity::Reordering
        | Quantity::InitCwnd
        | Quantity::InitRwnd => Value::UpTo(u32::MAX),
    }
}

/// Whether `lock` can stand behind the word.
fn lockable(quantity: Quantity) -> bool {
    match quantity {
        Quantity::Mtu
        | Quantity::Rtt
        | Quantity::RttVar
        | Quantity::SsThresh
        | Quantity::Cwnd
        | Quantity::AdvMss
        | Quantity::Reordering
        | Quantity::RtoMin => true,
        Quantity::Window
        | Quantity::HopLimit
        | Quantity::InitCwnd
        | Quantity::Features
        | Quantity::InitRwnd
        | Quantity::QuickAck
        | Quantity::FastOpenNoCookie => false,
    }
}

/// A time in the kernel's units, or in milliseconds or seconds where that is said; as `ip` reads it.
fn time(text: &str, units: u32) -> Option<u32> {
    let milliseconds = |suffix: &&str| matches!(*suffix, "ms" | "msec" | "msecs");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let value = number(digits)?;
    match suffix {
        "" => Some(value),
        suffix if milliseconds(&suffix) => value.checked_mul(units),
        "s" | "sec" | "secs" => value.checked_mul(1000)?.checked_mul(units),
        _ => None,
    }
}
