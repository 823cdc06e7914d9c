//! Whether a configuration that runs already still keeps its constraint, with the verdict that a plan rests on.

use super::{Choice, Exact, Operation, Paper, PerReplica, Provisioner};
use crate::arrival::{BatchLaw, Load};
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
        let operation = self.confirm(loads, choice)?;
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
        let (&first, others) = loads.split_first()?;
        let mut run = Self::open(first);
        for &load in others {
            Self::extend(&mut run, load);
        }
        let service = catalogue.functions[choice.function].service[choice.batch as usize - 1];
        if service.max > run.longest_service(choice.batch) {
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
        platform: &Platform,
        catalogue: &Catalogue,
        loads: &[Load],
        choice: &Choice,
    ) -> Option<(Choice, Operation)> {
        let services = &catalogue.functions[choice.function].service[..choice.batch as usize];
        let (slo, longest) = (loads.first()?.slo, services.last()?.max);
        if longest > slo {
            return None;
        }
        // Renewal reward: the mean cost of a batch over its mean size, both as sums of P(size > k).
        let mut exceedance = Vec::new();
        BatchLaw::new(loads).exceedance(slo - longest, choice.batch, &mut exceedance);
        let (mut size, mut cost) = (1.0, services[0].run_cost + platform.prices().request.get());
        for (larger, pair) in exceedance.iter().zip(services.windows(2)) {
            size += larger;
            cost += larger * (pair[1].run_cost - pair[0].run_cost);
        }
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let priced = Choice {
            cost_per_second: rate * cost / size,
            ..*choice
        };
        self.settle(catalogue, loads, &priced)
    }
}
