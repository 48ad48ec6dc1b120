//! What files come to in the model, whether or not all of it is done yet.

mod cases;
mod links;
mod manual;
mod options;
mod own_link;
mod paths;
mod strict;
mod summary;
mod unicast;

use super::super::diag::{Code, Diag, Lines, Severity};
use super::super::model::Instance;
use super::super::{lexer, parser};
use super::instance::Lowered;
use super::{Ctx, blocks};

/// A file, read.
struct Read {
    text: String,
    lowered: Vec<Lowered>,
    diags: Vec<Diag>,
}

fn read(text: &str) -> Read {
    let tree = parser::parse(text, &lexer::tokens(text).tokens);
    let mut ctx = Ctx::new(text);
    let blocks = blocks(&mut ctx, &tree.items);
    ctx.diags.sort_by_key(|diag| diag.span.start);
    Read { text: text.to_owned(), lowered: blocks.instances, diags: ctx.diags }
}

/// A block with these lines besides what each needs, and `globals`. The lines start in line 5.
fn with(globals: &str, lines: &str) -> Read {
    let globals = if globals.is_empty() { "" } else { &format!("global_defs {{\n{globals}\n}}\n") };
    read(&format!(
        "vrrp_instance VI_1 {{\ninterface eth0\nvirtual_router_id 51\n\
         virtual_ipaddress {{ 192.0.2.250/24 }}\n{lines}\n}}\n{globals}"
    ))
}

impl Read {
    /// An instance as it was written, even where it is not run.
    fn instance(&self, name: &str) -> &Instance {
        let found = self.lowered.iter().find(|one| one.name == name).expect("the block");
        found.instance.as_ref().expect("an instance")
    }

    /// The messages, but for what is not done yet.
    fn said(&self) -> impl Iterator<Item = &Diag> {
        self.diags.iter().filter(|diag| diag.code != Code::NotServed)
    }

    /// The messages as `LINE:COLUMN severity code`, but for what is not done yet.
    fn faults(&self) -> Vec<String> {
        let lines = Lines::new(&self.text);
        let one = |diag: &Diag| {
            let (line, column) = lines.position(&self.text, diag.span.start);
            let severity = match diag.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Notice => "notice",
            };
            format!("{line}:{column} {severity} {}", diag.code.as_str())
        };
        self.said().map(one).collect()
    }

    /// Why it is not run.
    fn refusals(&self, name: &str) -> Vec<&str> {
        let one = self.lowered.iter().find(|one| one.name == name).expect("the block");
        one.refusals.iter().map(|refusal| refusal.reason.as_str()).collect()
    }
}
