//! What a function that somebody else chose costs under each law of the batch size.

use crate::arrival::{EquivalentTimeout, Load};
use crate::latency::Catalogue;
use crate::platform::Platform;
use crate::provision::{Exact, Paper, Provisioner};

/// A provisioner where a function costs while it runs, which also prices what it did not choose.
pub(super) trait Law: Provisioner {
    /// The cost per second of loads in order of SLO on a function of the catalogue, if that keeps their SLOs.
    fn price(
        &self,
        catalogue: &Catalogue,
        platform: &Platform,
        loads: &[Load],
        function: usize,
        batch: u32,
    ) -> Option<f64>;
}

impl Law for Exact {
    fn price(&self, _: &Catalogue, _: &Platform, loads: &[Load], function: usize, batch: u32) -> Option<f64> {
        Exact::price(self, loads, function, batch)
    }
}

impl Law for Paper {
    fn price(
        &self,
        catalogue: &Catalogue,
        platform: &Platform,
        loads: &[Load],
        function: usize,
        batch: u32,
    ) -> Option<f64> {
        let run = EquivalentTimeout::of_run(loads)?;
        let index = usize::try_from(batch).ok()?.checked_sub(1)?;
        let service = catalogue.functions[function].service.get(index)?;
        let fee = platform.prices().request.get();
        (service.max <= run.longest_service(batch))
            .then(|| run.rate * (service.run_cost + fee) / f64::from(batch))
    }
}
