//! The profile as an InferenceModel.

use std::collections::BTreeSet;

use harmonybatch_api::inference_model::{
    self as api, CpuLatency, CpuProfile, GpuProfile, Memory, Profile, ProfileSource, Provenance, Runtime,
};
use harmonybatch_api::quantity::{Cpu, Duration};
use harmonybatch_api::{InferenceModel, InferenceModelSpec, names};

use crate::design::Level;
use crate::fit::choice::Choice;
use crate::fit::form::Curve;
use crate::fit::throttled::PERIOD;
use crate::fit::{CpuFit, Fit, GpuFit};
use crate::points::Point;
use crate::samples::{Device, Header};

/// Entries that the API takes under `profile.cpu`.
const MAX_SIZES: usize = 64;
/// Most samples that the API counts.
const MAX_SAMPLES: i32 = 1_000_000_000;
/// Longest text of the API.
const MAX_TEXT: usize = 1024;

/// What a measurement cannot tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the InferenceModel.
    pub name: String,
    /// Image of its runtime.
    pub image: String,
    /// Host memory that it needs, and that each row adds.
    pub memory: Memory,
}

/// Why there is no InferenceModel.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A coefficient that the API cannot hold.
    #[error("a coefficient of {0:e} s cannot be written: the API takes up to an hour")]
    Coefficient(f64),
}

/// The model that was measured, with everything that is known of where its figures come from. `left_out` are CPU limits that the others told.
pub fn inference_model(
    identity: &Identity,
    files: &[&Header],
    points: &[Point],
    fit: &Fit,
    left_out: &[Cpu],
) -> Result<InferenceModel, ModelError> {
    let runtime_name = files.first().map_or(&identity.name, |header| &header.model);
    let mut model = unmeasured(identity, runtime_name);
    model.spec.protocol = files.first().map(|header| header.protocol).unwrap_or_default();
    model.spec.max_batch_size = points.iter().map(|point| rows(point.batch)).max().unwrap_or(1);
    model.spec.profile = profile(files, points, fit, left_out)?;
    Ok(model)
}

/// The same before it is measured: for batches of one row, without a profile. `runtime_name` is the model's name in the protocol.
pub fn unmeasured(identity: &Identity, runtime_name: &str) -> InferenceModel {
    let spec = InferenceModelSpec {
        runtime: Runtime {
            image: identity.image.clone(),
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            port: names::DEFAULT_RUNTIME_PORT,
            model_name: Some(runtime_name.to_owned()).filter(|name| *name != identity.name),
            readiness_path: names::DEFAULT_READINESS_PATH.to_owned(),
            readiness_port: None,
            memory: identity.memory.clone(),
            volumes: Vec::new(),
            service_account_name: None,
            image_pull_secrets: Vec::new(),
        },
        max_batch_size: 1,
        platform_ref: api::PlatformRef::default(),
        protocol: api::Protocol::default(),
        idempotent: true,
        profile: Profile::default(),
    };
    InferenceModel::new(&identity.name, spec)
}

/// The profile alone, for a model that there is already.
pub fn profile(
    files: &[&Header],
    points: &[Point],
    fit: &Fit,
    left_out: &[Cpu],
) -> Result<Profile, ModelError> {
    let sizes = fit.cpu.len();
    let cpu = fit.cpu.iter().filter(|entry| kept(entry.batch as usize, sizes));
    Ok(Profile {
        cpu: cpu.map(cpu_profile).collect::<Result<_, _>>()?,
        after_idle: fit.idle_work().map(after_idle).transpose()?,
        gpu: fit.gpu.iter().filter_map(gpu_profile).collect::<Result<_, _>>()?,
        provenance: Some(provenance(files, points, fit, left_out)),
        ..Profile::default()
    })
}

/// Whether a batch size has an entry of its own. The API has room for 64; of more, larger sizes are thinned out. The planner takes one without
/// an entry for as slow as the next larger one with one.
fn kept(batch: usize, sizes: usize) -> bool {
    let step = sizes.div_ceil(MAX_SIZES).max(1);
    batch.is_multiple_of(step) || batch == sizes
}

fn rows(batch: u32) -> i32 {
    i32::try_from(batch).unwrap_or(i32::MAX)
}

fn cpu_profile(fit: &CpuFit) -> Result<CpuProfile, ModelError> {
    Ok(CpuProfile {
        batch: rows(fit.batch),
        mean: cpu_latency(&fit.mean)?,
        max: cpu_latency(&fit.tail)?,
    })
}

fn after_idle((work, time_constant): (f64, f64)) -> Result<api::AfterIdle, ModelError> {
    Ok(api::AfterIdle {
        work: positive(work)?,
        time_constant: positive(time_constant)?,
    })
}

fn cpu_latency(curve: &Curve) -> Result<CpuLatency, ModelError> {
    Ok(match curve {
        Curve::Exponential(curve) => CpuLatency::Exponential(api::Exponential {
            alpha: written(curve.alpha)?,
            beta: format!("{:.6}", curve.beta),
            gamma: positive(curve.gamma)?,
        }),
        Curve::Hyperbolic(curve) => CpuLatency::Hyperbolic(api::Hyperbolic {
            work: positive(curve.work)?,
            fixed: written(curve.fixed)?,
        }),
        Curve::Throttled(curve) => CpuLatency::Throttled(api::Throttled {
            work: positive(curve.work)?,
            parallelism: format!("{:.6}", curve.parallelism),
            period: written(PERIOD)?,
        }),
    })
}

fn gpu_profile(fit: &GpuFit) -> Option<Result<GpuProfile, ModelError>> {
    let Device::Gpu {
        device,
        memory,
        memory_per_row,
    } = &fit.device
    else {
        return None;
    };
    let coefficients = positive(fit.mean.slope).and_then(|slope| Ok((slope, written(fit.mean.fixed)?)));
    Some(coefficients.map(|(per_row, fixed)| GpuProfile {
        device: device.clone(),
        per_row,
        fixed,
        memory: Memory {
            base: memory.clone(),
            per_row: memory_per_row.clone(),
        },
    }))
}

/// Rounded up to a microsecond.
fn written(seconds: f64) -> Result<String, ModelError> {
    const HOUR: f64 = 3_600.0;
    let duration = Duration::from_secs_f64(seconds).filter(|_| seconds <= HOUR);
    duration
        .map(|duration| duration.to_string())
        .ok_or(ModelError::Coefficient(seconds))
}

/// The same where the API takes no zero: a microsecond is nothing.
fn positive(seconds: f64) -> Result<String, ModelError> {
    const MICROSECOND: f64 = 1e-6;
    written(seconds.max(MICROSECOND))
}

fn provenance(files: &[&Header], points: &[Point], fit: &Fit, left_out: &[Cpu]) -> Provenance {
    let all = |field: fn(&Header) -> Option<&str>| {
        let texts: BTreeSet<&str> = files.iter().filter_map(|header| field(header)).collect();
        let text = texts.into_iter().collect::<Vec<_>>().join("; ");
        (!text.is_empty()).then(|| text.chars().take(MAX_TEXT).collect())
    };
    let count: usize = points.iter().map(|point| point.summary.count).sum();
    Provenance {
        source: ProfileSource::Measured,
        hardware: all(|header| header.hardware.as_deref()),
        kernel: all(|header| header.kernel.as_deref()),
        endpoint: all(|header| Some(&header.endpoint)),
        image_digest: all(|header| header.image_digest.as_deref()),
        // The day of the last measurement.
        date: files.iter().map(|header| header.date.clone()).max(),
        // More than the API counts are not counted.
        samples: i32::try_from(count)
            .ok()
            .filter(|count| (1..=MAX_SAMPLES).contains(count)),
        fit_error: Some(format!("{:.1}%", fit.error() * 100.0)),
        cross_validation: fit.choice.as_ref().map(cross_validation),
        inferred: inferred(points, left_out).map(|text| text.chars().take(MAX_TEXT).collect()),
    }
}

/// What was not measured in full, and what is known of it all the same. None where everything was.
pub fn inferred(points: &[Point], left_out: &[Cpu]) -> Option<String> {
    let checks = || {
        points
            .iter()
            .filter_map(|point| Some((point, point.check.as_ref()?)))
    };
    let sizes: BTreeSet<u32> = checks().map(|(point, _)| point.batch).collect();
    let between: BTreeSet<u32> = checks()
        .flat_map(|(_, check)| [check.level.between.0, check.level.between.1])
        .collect();
    let worst = |part: fn(&Level) -> f64| {
        let parts = checks().map(|(_, check)| part(&check.level));
        parts.fold(0.0, f64::max) * 100.0
    };
    let sizes = (!sizes.is_empty()).then(|| {
        format!(
            "batches of {} between those of {}, by a few of each: off the straight line between them by {:.1}% at most, known to {:.1}%",
            ranges(&sizes),
            ranges(&between),
            worst(|level| (level.found - 1.0).abs()),
            worst(|level| level.known_to),
        )
    });
    let limits: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    let limits = (!limits.is_empty()).then(|| format!("CPU limits {} not measured", limits.join(", ")));
    let all: Vec<String> = sizes.into_iter().chain(limits).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Such as 2-7, 9.
fn ranges(sizes: &BTreeSet<u32>) -> String {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for &size in sizes {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == size => *last = size,
            _ => found.push((size, size)),
        }
    }
    let texts = found.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// The errors of all forms.
fn cross_validation(choice: &Choice) -> String {
    let scores = choice.scores.iter().map(|score| {
        let error = score.error() * 100.0;
        format!("{} {error:.1}%", score.form.name())
    });
    scores.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;
    use crate::fit::{self, after_idle::AfterIdle};
    use crate::points::tests::{cpu, goal, gpu, header, point};

    fn identity() -> Identity {
        Identity {
            name: "mlp".to_owned(),
            image: "example.org/mlp:1".to_owned(),
            memory: Memory {
                base: "256Mi".to_owned(),
                per_row: "0".to_owned(),
            },
        }
    }

    /// `0.5 exp(-c / 0.5) + 0.1` at 1 row, twice that at 2, 40 equal samples each.
    fn points() -> Vec<Point> {
        let law = |vcpu: f64| 0.5 * (-vcpu / 0.5).exp() + 0.1;
        [250_u32, 500, 1000, 2000, 4000]
            .into_iter()
            .flat_map(|millis| [1, 2].map(|batch| (millis, batch)))
            .map(|(millis, batch)| {
                let seconds = f64::from(batch) * law(f64::from(millis) / 1e3);
                point(cpu(u64::from(millis)), batch, &[seconds; 40])
            })
            .collect()
    }

    #[test]
    fn coefficients_and_their_origin_are_written() {
        let mut earlier = header("net_v1", cpu(250));
        earlier.date = "2026-03-30".to_owned();
        earlier.hardware = Some("a processor".to_owned());
        let mut last = header("net_v1", cpu(500));
        earlier.protocol = api::Protocol::OipV2Grpc;
        last.protocol = api::Protocol::OipV2Grpc;
        let points = points();
        let fit = fit::fit(&points, AfterIdle::NOTHING, goal()).unwrap();
        let model = inference_model(&identity(), &[&earlier, &last], &points, &fit, &[]).unwrap();
        assert_eq!(model.spec.protocol, api::Protocol::OipV2Grpc);
        assert_eq!(model.spec.max_batch_size, 2);
        assert_eq!(model.spec.runtime.model_name.as_deref(), Some("net_v1"));
        let CpuLatency::Exponential(curve) = &model.spec.profile.cpu[1].mean else {
            panic!("{:?}", model.spec.profile.cpu[1]);
        };
        let alpha: Duration = curve.alpha.parse().unwrap();
        assert!((alpha.as_secs_f64() - 1.0).abs() < 1e-4, "{curve:?}");
        let provenance = model.spec.profile.provenance.unwrap();
        assert_eq!(provenance.samples, Some(400));
        assert_eq!(provenance.date.as_deref(), Some("2026-03-31"));
        assert_eq!(provenance.hardware.as_deref(), Some("a processor"));
        assert_eq!(provenance.endpoint.as_deref(), Some("http://a"));
        assert_eq!(provenance.fit_error.as_deref(), Some("0.0%"));
    }

    #[test]
    fn a_gpu_has_its_memory() {
        let points: Vec<Point> = (1..=4)
            .map(|batch| point(gpu(), batch, &[0.002 * f64::from(batch) + 0.001; 40]))
            .collect();
        let fit = fit::fit(&points, AfterIdle::NOTHING, goal()).unwrap();
        let model = inference_model(&identity(), &[&header("mlp", gpu())], &points, &fit, &[]).unwrap();
        let entry = &model.spec.profile.gpu[0];
        assert_eq!((entry.per_row.as_str(), entry.fixed.as_str()), ("2ms", "1ms"));
        assert_eq!(
            (entry.device.as_str(), entry.memory.base.as_str()),
            ("a10", "1Gi")
        );
        assert_eq!(model.spec.runtime.model_name, None);
    }

    #[test]
    fn nothing_that_the_api_refuses_is_written() {
        assert_eq!(positive(0.0).unwrap(), "1us");
        assert_eq!(written(4_000.0), Err(ModelError::Coefficient(4_000.0)));
        assert!(written(f64::NAN).is_err());
    }

    #[test]
    fn more_sizes_than_the_api_takes_are_thinned_out() {
        for sizes in [1, 64, 65, 128, 1_000, 1_024] {
            let entries = (1..=sizes).filter(|&batch| kept(batch, sizes)).count();
            assert!(entries <= 64, "{sizes}: {entries}");
            assert!(kept(sizes, sizes));
        }
        assert!((1..=64).all(|batch| kept(batch, 64)));
    }
}
