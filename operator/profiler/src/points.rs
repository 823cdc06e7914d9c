//! Samples files merged: what is known of every batch size on every device.

use std::collections::BTreeMap;
use std::fmt;

use harmonybatch_api::inference_model::Protocol;
use harmonybatch_api::quantity::Cpu;

use crate::design::{Asked, Design, Grid, Known, Level};
use crate::fit::after_idle::{self, AfterIdle};
use crate::goal::{Goal, Summary};
use crate::samples::{AfterPause, Device, Header, Samples};

/// One batch size on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it ran on.
    pub device: Device,
    /// Rows in the batch.
    pub batch: u32,
    /// What is known.
    pub summary: Summary,
    /// Of a batch size that was not measured in full: how it lies between others.
    pub check: Option<Check>,
}

/// What is known of a batch size that was not measured in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// How its means compare with those of its neighbours, at all CPU limits together.
    pub level: Level,
    /// Its samples here, in their order of size.
    pub sorted: Vec<f64>,
}

impl Point {
    /// The CPU limit, of a point on CPU.
    pub fn vcpu(&self) -> Option<f64> {
        match &self.device {
            Device::Cpu { limit } => Some(limit.vcpu()),
            Device::Gpu { .. } => None,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "batch {} on {}", self.batch, self.device)
    }
}

/// Files that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Two models.
    #[error("the samples are of two models, {0} and {1}: one profile is of one")]
    Models(String, String),
    /// Two ways to send tensors.
    #[error(
        "the samples are of a server of {0} and of one of {1}: what they take differs by what is read and written, give those of one"
    )]
    Protocols(Protocol, Protocol),
    /// One kind of GPU on which the model takes two amounts of memory.
    #[error(
        "the samples on {0} differ in the memory that the model takes: give the same --gpu-memory to all"
    )]
    GpuMemory(String),
}

/// Every batch size on every device, smallest limit and smallest batch first. Samples of one device in several files are put together.
pub fn points(files: &[(Header, Samples)], goal: Goal) -> Result<Vec<Point>, MergeError> {
    for pair in files.windows(2) {
        let (one, other) = (&pair[0].0.model, &pair[1].0.model);
        if one != other {
            return Err(MergeError::Models(one.clone(), other.clone()));
        }
        let (one, other) = (pair[0].0.protocol, pair[1].0.protocol);
        if one != other {
            return Err(MergeError::Protocols(one, other));
        }
    }
    // CPU limits in their order, then GPUs by name.
    let key = |device: &Device| match device {
        Device::Cpu { limit } => (0, limit.millis(), String::new()),
        Device::Gpu { device, .. } => (1, 0, device.clone()),
    };
    let mut merged: BTreeMap<_, (&Device, Samples)> = BTreeMap::new();
    for (header, samples) in files {
        let (device, all) = merged
            .entry(key(&header.device))
            .or_insert_with(|| (&header.device, Samples::new()));
        if *device != &header.device {
            return Err(MergeError::GpuMemory(header.device.to_string()));
        }
        for (&batch, sample) in samples.iter() {
            all.entry(batch).or_default().extend(sample);
        }
    }
    let grid = |on_cpu: bool| {
        let mut files = files
            .iter()
            .filter(|(header, _)| is_cpu(&header.device) == on_cpu);
        if files.any(|(header, _)| header.grid == Grid::Adaptive) {
            Grid::Adaptive
        } else {
            Grid::Full
        }
    };
    let merged: Vec<(&Device, Samples, Known)> = merged
        .into_values()
        .map(|(device, samples)| {
            let known = goal.known(&samples);
            (device, samples, known)
        })
        .collect();
    let (cpu, gpu): (Vec<_>, Vec<_>) = merged.iter().partition(|(device, ..)| is_cpu(device));
    let mut found = together(&cpu, grid(true), goal);
    for each in gpu {
        found.extend(together(&[each], grid(false), goal));
    }
    Ok(found)
}

/// What idle time adds to a batch on CPU, by the largest limit under which batches were sent after pauses: a smaller one may stop them.
pub fn after_idle(files: &[(Header, Samples)]) -> AfterIdle {
    let limits = files.iter().filter_map(|(header, samples)| match &header.device {
        Device::Cpu { limit } => Some((*limit, samples)),
        Device::Gpu { .. } => None,
    });
    after_idle_of(limits)
}

/// The same of samples by limit.
pub(crate) fn after_idle_of<'a>(limits: impl Iterator<Item = (Cpu, &'a Samples)>) -> AfterIdle {
    let mut by_limit: BTreeMap<Cpu, Vec<AfterPause>> = BTreeMap::new();
    for (limit, samples) in limits {
        by_limit.entry(limit).or_default().extend(&samples.after_pauses);
    }
    let mut known = by_limit.iter().rev().filter(|(_, samples)| !samples.is_empty());
    let largest = known
        .next()
        .and_then(|(limit, samples)| after_idle::of(samples, limit.vcpu()));
    largest.unwrap_or(AfterIdle::NOTHING).if_sure()
}

/// Every batch size under every CPU limit, smallest first.
pub(crate) fn on_cpu(limits: &BTreeMap<Cpu, Samples>, grid: Grid, goal: Goal) -> Vec<Point> {
    let devices: Vec<Device> = limits.keys().map(|&limit| Device::Cpu { limit }).collect();
    let each = devices.iter().zip(limits.values());
    let known: Vec<_> = each
        .map(|(device, samples)| (device, samples.clone(), goal.known(samples)))
        .collect();
    together(&known.iter().collect::<Vec<_>>(), grid, goal)
}

fn is_cpu(device: &Device) -> bool {
    matches!(device, Device::Cpu { .. })
}

/// The points of devices whose batch sizes are designed together.
fn together(devices: &[&(&Device, Samples, Known)], grid: Grid, goal: Goal) -> Vec<Point> {
    let known: Vec<&Known> = devices.iter().map(|(.., known)| known).collect();
    let sizes = known.iter().flat_map(|known| known.keys());
    let asked = Asked {
        grid,
        max_batch: sizes.copied().max().unwrap_or(0),
        limits: known.len(),
        goal,
    };
    let design = Design::of(asked, &known);
    let points = devices.iter().flat_map(|(device, samples, known)| {
        let design = &design;
        known.iter().map(move |(&batch, &summary)| Point {
            device: (*device).clone(),
            batch,
            summary,
            check: design.levels().get(&batch).map(|&level| {
                let mut sorted = samples.get(&batch).cloned().unwrap_or_default();
                sorted.sort_by(f64::total_cmp);
                Check { level, sorted }
            }),
        })
    });
    points.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    pub(crate) fn goal() -> Goal {
        Goal::new(0.05, 0.2, 0.9, 0.95).unwrap()
    }

    pub(crate) fn cpu(millis: u64) -> Device {
        Device::Cpu {
            limit: Cpu::from_millis(millis),
        }
    }

    pub(crate) fn gpu() -> Device {
        Device::Gpu {
            device: "a10".to_owned(),
            memory: "1Gi".to_owned(),
            memory_per_row: "0".to_owned(),
        }
    }

    /// The point of a sample.
    pub(crate) fn point(device: Device, batch: u32, sample: &[f64]) -> Point {
        Point {
            device,
            batch,
            summary: goal().summary(sample).unwrap(),
            check: None,
        }
    }

    pub(crate) fn header(model: &str, device: Device) -> Header {
        Header {
            endpoint: "http://a".to_owned(),
            model: model.to_owned(),
            protocol: Protocol::OipV2Json,
            max_batch: 2,
            device,
            grid: Grid::Full,
            shapes: BTreeMap::new(),
            input: None,
            seed: 1,
            date: "2026-03-31".to_owned(),
            hardware: None,
            kernel: None,
            image: None,
            image_digest: None,
        }
    }

    fn file(model: &str, device: Device, samples: Samples) -> (Header, Samples) {
        (header(model, device), samples)
    }

    #[test]
    fn files_of_one_limit_are_put_together_and_limits_are_in_order() {
        let sample = |batch, value: f64| Samples::from([(batch, vec![value; 2])]);
        let files = [
            file("m", gpu(), sample(1, 0.1)),
            file("m", cpu(10_000), sample(1, 0.2)),
            file("m", cpu(500), sample(2, 0.3)),
            file("m", cpu(500), sample(2, 0.5)),
            file("m", cpu(500), sample(1, 0.2)),
        ];
        let found: Vec<_> = points(&files, goal())
            .unwrap()
            .iter()
            .map(|point| (point.to_string(), point.summary.count, point.summary.mean.value))
            .collect();
        let expected = [
            ("batch 1 on cpu 500m", 2, 0.2),
            ("batch 2 on cpu 500m", 4, 0.4),
            ("batch 1 on cpu 10", 2, 0.2),
            ("batch 1 on a10", 2, 0.1),
        ];
        assert_eq!(
            found,
            expected.map(|(name, count, mean)| (name.to_owned(), count, mean))
        );
    }

    #[test]
    fn files_that_do_not_go_together_are_refused() {
        let two = [file("a", gpu(), Samples::new()), file("b", gpu(), Samples::new())];
        assert_eq!(
            points(&two, goal()),
            Err(MergeError::Models("a".to_owned(), "b".to_owned()))
        );
        let mut two = [file("a", gpu(), Samples::new()), file("a", gpu(), Samples::new())];
        two[1].0.protocol = Protocol::OipV2Grpc;
        let told = points(&two, goal()).unwrap_err().to_string();
        assert!(
            told.starts_with("the samples are of a server of OIPv2JSON and of one of OIPv2GRPC"),
            "{told}"
        );
        let other = Device::Gpu {
            device: "a10".to_owned(),
            memory: "2Gi".to_owned(),
            memory_per_row: "0".to_owned(),
        };
        let two = [file("a", gpu(), Samples::new()), file("a", other, Samples::new())];
        assert_eq!(points(&two, goal()), Err(MergeError::GpuMemory("a10".to_owned())));
    }
}
