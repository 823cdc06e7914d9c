//! What holds of the paper's claims, and what must hold of ours.

use std::process::ExitCode;

use crate::columns::Column;
use crate::evaluator::ROUNDING;

/// As a person reads a share.
pub(crate) fn percent(share: f64) -> String {
    // Not minus zero.
    format!("{:.1} %", (1000.0 * share).round() / 10.0 + 0.0)
}

/// Prints whether a claim of the paper holds here, and why if it does not.
pub(crate) fn claim(claim: &str, holds: bool, found: &str, because: &str) {
    if holds {
        println!("  holds:   {claim}; here {found}");
    } else {
        println!("  differs: {claim}; here {found}, because {because}");
    }
}

/// Collects what is broken.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    checked: usize,
    broken: Vec<String>,
}

impl Verdicts {
    /// Something that must hold.
    pub(crate) fn invariant(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken.push(what());
        }
    }

    /// Of several ways to serve the same applications, the first being ours: costs are as stated, and no other one that keeps its
    /// SLOs is cheaper.
    pub(crate) fn compare(&mut self, place: &str, columns: &[Column]) {
        let ours = &columns[0];
        self.invariant(ours.late == 0, || {
            format!("{place}: {} groups of ours are late", ours.late)
        });
        for column in columns {
            let error = column.cost_per_second / column.stated - 1.0;
            self.invariant(error.abs() <= ROUNDING, || {
                format!(
                    "{place}: {} states {:e} and costs {:e}",
                    column.name, column.stated, column.cost_per_second
                )
            });
            let dearer = ours.cost_per_second / column.cost_per_second - 1.0;
            self.invariant(column.late > 0 || dearer <= ROUNDING, || {
                format!("{place}: ours is {dearer:.2e} dearer than {}", column.name)
            });
        }
    }

    /// Prints what is broken; a failure if anything is.
    pub(crate) fn print(self) -> ExitCode {
        println!(
            "\n{} invariants checked, {} broken",
            self.checked,
            self.broken.len()
        );
        for broken in &self.broken {
            println!("  broken:  {broken}");
        }
        if self.broken.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
