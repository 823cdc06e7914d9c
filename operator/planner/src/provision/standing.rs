//! Whether a configuration that runs already still keeps its constraint, with the verdict that a plan rests on.

use super::{Choice, Exact, Operation, Paper, PerReplica, Provisioner};
use crate::arrival::{EquivalentTimeout, Load};
use crate::latency::Catalogue;
use crate::platform::Platform;

/// Judges configurations that somebody else chose.
pub(crate) trait Standing: Provisioner {
    /// The configuration with what it costs for these loads, and what it does, if it keeps their constraint. The loads are
    /// in order of SLO; of the choice all but the cost is read, and the catalogue has its function and batch size.
    fn stands(
        &self,
        platform: &Platform,
        catalogue: &Catalogue,
        loads: &[Load],
        choice: &Choice,
    ) -> Option<(Choice, Operation)>;
}

impl Standing for PerReplica {
    fn stands(
        &self,
        _: &Platform,
        catalogue: &Catalogue,
        loads: &[Load],
        choice: &Choice,
    ) -> Option<(Choice, Operation)> {
        let function = &catalogue.functions[choice.function];
        if function.single().max > loads.first()?.slo {
            return None;
        }
        let operation = self.confirm(loads, choice, &mut 0)?;
        let priced = Choice {
            cost_per_second: f64::from(choice.replicas) * function.price,
            ..*choice
        };
        Some((priced, operation))
    }
}

impl Standing for Paper {
    fn stands(
        &self,
        platform: &Platform,
        catalogue: &Catalogue,
        loads: &[Load],
        choice: &Choice,
    ) -> Option<(Choice, Operation)> {
        let run = EquivalentTimeout::of_run(loads)?;
        let services = &catalogue.functions[choice.function].service[..choice.batch as usize];
        let service = services.last()?;
        if super::longest_up_to(services) > run.longest_service(choice.batch) {
            return None;
        }
        let batch_cost = service.run_cost + platform.prices().request.get();
        let priced = Choice {
            cost_per_second: run.rate * batch_cost / f64::from(choice.batch),
            ..*choice
        };
        self.settle(catalogue, loads, &priced)
    }
}

impl Standing for Exact {
    fn stands(
        &self,
        _: &Platform,
        catalogue: &Catalogue,
        loads: &[Load],
        choice: &Choice,
    ) -> Option<(Choice, Operation)> {
        let priced = Choice {
            cost_per_second: self.price(loads, choice.function, choice.batch)?,
            ..*choice
        };
        self.settle(catalogue, loads, &priced)
    }
}
