//! One InferenceModel's profile.

use harmonybatch_api::InferenceModel;
use harmonybatch_api::conditions::reason;
use harmonybatch_api::inference_model as written;
use harmonybatch_api::quantity::{Decimal, Duration, Memory};
use harmonybatch_planner as planner;
use harmonybatch_planner::ModelProfile;
use harmonybatch_planner::units::{BatchSize, Bytes};

use super::Problem;
use super::app::{checked, parse};

/// Reads the one that is in force.
pub(super) fn profile(model: &InferenceModel) -> Result<ModelProfile, Problem> {
    let spec = &model.spec;
    let written::ProfileInForce { cpu, after_idle, gpu } = model.profile_in_force();
    if cpu.is_empty() && gpu.is_empty() && spec.profile.from == written::ProfileFrom::Measure {
        return Err(Problem::new(
            reason::NOT_PROFILED,
            "profile.from is Measure, and there is no measurement yet: see the condition Profiled; entries under profile.cpu would hold until then".to_owned(),
        ));
    }
    let cpu = cpu.iter().enumerate().map(|(index, entry)| {
        let field = format!("profile.cpu[{index}]");
        Ok(planner::CpuLatency {
            batch: rows(&format!("{field}.batch"), entry.batch)?,
            mean: curve(&format!("{field}.mean"), &entry.mean)?,
            max: curve(&format!("{field}.max"), &entry.max)?,
        })
    });
    let gpu = gpu.iter().enumerate().map(|(index, entry)| {
        let field = format!("profile.gpu[{index}]");
        let per_row: Duration = parse(&format!("{field}.perRow"), &entry.per_row)?;
        let fixed: Duration = parse(&format!("{field}.fixed"), &entry.fixed)?;
        let memory = planner::Memory {
            base: bytes(&format!("{field}.memory.base"), &entry.memory.base)?,
            per_row: bytes(&format!("{field}.memory.perRow"), &entry.memory.per_row)?,
        };
        planner::GpuLatency::new(&entry.device, per_row.as_secs_f64(), fixed.as_secs_f64(), memory)
            .map_err(|error| Problem::invalid(format!("{field}: {error}")))
    });
    let after_idle = after_idle.map_or(Ok(planner::AfterIdle::NOTHING), |entry| {
        let seconds = |field: &str, text: &str| -> Result<f64, Problem> {
            parse(&format!("profile.afterIdle.{field}"), text)
                .map(|duration: Duration| duration.as_secs_f64())
        };
        let (work, time_constant) = (
            seconds("work", &entry.work)?,
            seconds("timeConstant", &entry.time_constant)?,
        );
        planner::AfterIdle::new(work, time_constant)
            .map_err(|error| Problem::invalid(format!("profile: {error}")))
    })?;
    bytes("runtime.memory.base", &spec.runtime.memory.base)?;
    bytes("runtime.memory.perRow", &spec.runtime.memory.per_row)?;
    ModelProfile::new(
        without_gaps(cpu.collect::<Result<_, Problem>>()?),
        gpu.collect::<Result<_, Problem>>()?,
        rows("maxBatchSize", spec.max_batch_size)?,
    )
    .map(|profile| profile.with_after_idle(after_idle))
    .map_err(|error| Problem::invalid(format!("profile: {error}")))
}

/// The planner wants a latency for every batch size up to the largest. One that was not measured takes as long as the next larger
/// one that was: never less than it would.
fn without_gaps(mut measured: Vec<planner::CpuLatency>) -> Vec<planner::CpuLatency> {
    measured.sort_by_key(|entry| entry.batch);
    let mut all = Vec::with_capacity(measured.len());
    let mut missing = 1;
    for entry in measured {
        let gap = (missing..entry.batch.get()).filter_map(|rows| BatchSize::new(rows).ok());
        all.extend(gap.map(|batch| planner::CpuLatency { batch, ..entry }));
        missing = entry.batch.get() + 1;
        all.push(entry);
    }
    all
}

fn curve(field: &str, latency: &written::CpuLatency) -> Result<planner::CpuCurve, Problem> {
    let field = format!("{field}.{}", latency.form());
    let seconds = |name: &str, text: &str| -> Result<f64, Problem> {
        parse(&format!("{field}.{name}"), text).map(|duration: Duration| duration.as_secs_f64())
    };
    let number = |name: &str, text: &str| -> Result<f64, Problem> {
        parse(&format!("{field}.{name}"), text).map(|decimal: Decimal| decimal.to_f64())
    };
    let checked = match latency {
        written::CpuLatency::Exponential(curve) => planner::Exponential::new(
            seconds("alpha", &curve.alpha)?,
            number("beta", &curve.beta)?,
            seconds("gamma", &curve.gamma)?,
        )
        .map(planner::CpuCurve::from),
        written::CpuLatency::Hyperbolic(curve) => {
            planner::Hyperbolic::new(seconds("work", &curve.work)?, seconds("fixed", &curve.fixed)?)
                .map(planner::CpuCurve::from)
        }
        written::CpuLatency::Throttled(curve) => planner::Throttled::new(
            seconds("work", &curve.work)?,
            number("parallelism", &curve.parallelism)?,
            seconds("period", &curve.period)?,
        )
        .map(planner::CpuCurve::from),
    };
    checked.map_err(|error| Problem::invalid(format!("{field}: {error}")))
}

fn rows(field: &str, rows: i32) -> Result<BatchSize, Problem> {
    // A negative number is out of bounds as much as zero is.
    checked(field, BatchSize::new(u32::try_from(rows).unwrap_or(0)))
}

fn bytes(field: &str, text: &str) -> Result<Bytes, Problem> {
    parse::<Memory>(field, text).map(|memory| Bytes(memory.bytes()))
}
