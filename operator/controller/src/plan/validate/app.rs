//! One InferenceApp.

use std::str::FromStr;

use harmonybatch_api::inference_app::{self, Batching, RateSource};
use harmonybatch_api::quantity::{Decimal, Duration, QuantityError, Rate};
use harmonybatch_api::{InferenceApp, InferenceAppSpec};
use harmonybatch_planner::units::{self, UnitError};
use harmonybatch_planner::{App, ArrivalProcess, Billing, Burst};
use kube::ResourceExt;

use super::{Admitted, Contract, Problem, service_name};
use crate::plan::traces::{TracePlace, Traces};

/// Times the SLO that a deadline is unless it is written.
const TIMEOUT_FACTOR: u64 = 4;
/// The shortest and the longest deadline unless it is written; longer ones cannot be written either.
const DEFAULT_TIMEOUTS: (u64, u64) = (1_000_000_000, 3_600_000_000_000);

/// Times the declared rate that an observed one may be unless it is written: a night has a tenth of the day's requests, and a caller that went wild
/// multiplies the cost by ten at most.
const DEFAULT_LIMITS: (f64, f64) = (0.1, 10.0);

/// Reads it: what the planner takes, and the rest.
pub(super) fn app(
    written: &InferenceApp,
    traces: &Traces,
    observed: Option<&Rate>,
) -> Result<(App, Contract), Problem> {
    let spec = &written.spec;
    let slo: Duration = parse("slo.latency", &spec.slo.latency)?;
    let percentile: Decimal = parse("slo.percentile", &spec.slo.percentile)?;
    let declared: Rate = parse("rate", &spec.rate)?;
    checked("rate", units::Rate::new(declared.per_second()))?;
    let observed = observed.filter(|_| spec.rate_source == RateSource::Observed);
    let rate = within_limits(spec, declared, *observed.unwrap_or(&declared))?;
    if slo.is_zero() {
        return Err(Problem::invalid("slo.latency 0s must be above 0".to_owned()));
    }
    let timeout = match &spec.timeout {
        Some(timeout) => Duration::from_nanos(parse::<Duration>("timeout", timeout)?.as_nanos()),
        None => Duration::from_nanos(
            slo.as_nanos()
                .saturating_mul(TIMEOUT_FACTOR)
                .clamp(DEFAULT_TIMEOUTS.0, DEFAULT_TIMEOUTS.1),
        ),
    };
    if timeout.as_nanos() < slo.as_nanos() {
        return Err(Problem::invalid(format!(
            "timeout {timeout} is shorter than slo.latency {slo}: make it at least that"
        )));
    }
    let arrivals = arrivals(written, traces)?;
    let admitted = admitted(spec, declared, rate, &arrivals)?;
    let app = App {
        name: written.name_any(),
        slo: checked("slo.latency", units::Seconds::new(slo.as_secs_f64()))?,
        percentile: checked("slo.percentile", units::Percentile::new(percentile.to_f64()))?,
        rate: checked("rate", units::Rate::new(rate.per_second()))?,
        isolated: spec.batching == Batching::Isolated,
        arrivals,
    };
    let contract = Contract {
        model: spec.model_ref.name.clone(),
        service_name: service_name(written),
        // To the nanosecond, which every field that it is copied to can hold.
        slo: Duration::from_nanos(slo.as_nanos()).to_string(),
        percentile: percentile.to_string(),
        rate: rate.to_string(),
        rate_source: match observed {
            Some(_) => RateSource::Observed,
            None => RateSource::Declared,
        },
        timeout,
        admitted,
    };
    Ok((app, contract))
}

/// What may come: a quarter more than what is planned for, or may be planned for where the planned rate follows the requests.
fn admitted(
    spec: &InferenceAppSpec,
    declared: Rate,
    planned: Rate,
    arrivals: &ArrivalProcess,
) -> Result<Admitted, Problem> {
    const ROOM: f64 = 1.25;
    let highest = match spec.rate_source {
        RateSource::Declared => planned,
        RateSource::Observed => limits(spec, declared)?.1.unwrap_or(planned),
    };
    let per_second = highest.per_second().max(planned.per_second());
    Ok(Admitted {
        rate: ROOM * per_second,
        excess: arrivals.excess(checked("rate", units::Rate::new(per_second))?, ROOM),
        overflow: spec.overflow,
    })
}

/// The rate within the limits of an application whose rate is observed.
fn within_limits(spec: &InferenceAppSpec, declared: Rate, rate: Rate) -> Result<Rate, Problem> {
    if spec.rate_source == RateSource::Declared {
        return match &spec.rate_limits {
            None => Ok(rate),
            Some(_) => Err(Problem::invalid(
                "rateLimits go with rateSource Observed: set that, or leave rateLimits out".to_owned(),
            )),
        };
    }
    let (min, max) = limits(spec, declared)?;
    let below = min.filter(|min| rate.per_second() < min.per_second());
    let above = max.filter(|max| rate.per_second() > max.per_second());
    Ok(below.or(above).unwrap_or(rate))
}

/// Between which rates an observed one is followed.
fn limits(spec: &InferenceAppSpec, declared: Rate) -> Result<(Option<Rate>, Option<Rate>), Problem> {
    let written = spec.rate_limits.clone().unwrap_or_default();
    let limit = |field: &str, text: Option<&String>, default: f64| match text {
        Some(text) => {
            let rate: Rate = parse(field, text)?;
            checked(field, units::Rate::new(rate.per_second()))?;
            Ok(Some(rate))
        }
        None => Ok(Rate::at_least(declared.per_second() * default)),
    };
    let min = limit("rateLimits.min", written.min.as_ref(), DEFAULT_LIMITS.0)?;
    let max = limit("rateLimits.max", written.max.as_ref(), DEFAULT_LIMITS.1)?;
    if let (Some(min), Some(max)) = (min, max)
        && min.per_second() > max.per_second()
    {
        return Err(Problem::invalid(format!(
            "rateLimits: min {min} is above max {max}: lower min or raise max; what is not written is a tenth and ten times rate {declared}"
        )));
    }
    Ok((min, max))
}

/// How its requests arrive.
fn arrivals(written: &InferenceApp, traces: &Traces) -> Result<ArrivalProcess, Problem> {
    match (&written.spec.burst, TracePlace::of(written)) {
        (None, None) => Ok(ArrivalProcess::Poisson),
        (Some(burst), None) => bursts(burst),
        (None, Some(place)) => match traces.get(&place) {
            Some(read) => read.clone().map(ArrivalProcess::Trace),
            None => Err(place.not_found("has not been read")),
        },
        // Where no API server has refused it.
        (Some(_), Some(_)) => Err(Problem::invalid(
            "trace: trace and burst exclude each other: leave one of them out".to_owned(),
        )),
    }
}

fn bursts(burst: &inference_app::Burst) -> Result<ArrivalProcess, Problem> {
    let factor: Decimal = parse("burst.factor", &burst.factor)?;
    let duration: Duration = parse("burst.duration", &burst.duration)?;
    let duration = checked("burst.duration", units::Seconds::new(duration.as_secs_f64()))?;
    Burst::new(factor.to_f64(), duration)
        .map(ArrivalProcess::Burst)
        .map_err(|error| Problem::invalid(format!("burst: {error}")))
}

/// Where functions are billed while they run, formulas for Poisson arrivals make the plan.
pub(super) fn check_billing(app: &App, platform: &str, billing: Billing) -> Result<(), Problem> {
    let field = match (&app.arrivals, billing) {
        (ArrivalProcess::Poisson, _) | (_, Billing::PerReplica) => return Ok(()),
        (ArrivalProcess::Burst(_), Billing::PerInvocation) => "burst",
        (ArrivalProcess::Trace(_), Billing::PerInvocation) => "trace",
    };
    Err(Problem::invalid(format!(
        "{field}: InferencePlatform {platform} bills PerInvocation, whose plans are made for Poisson arrivals: leave {field} out, or use a platform \
         that bills PerReplica"
    )))
}

/// Parses a quantity; the error names the field.
pub(super) fn parse<T: FromStr<Err = QuantityError>>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(format!("{field}: {error}")))
}

/// Names the field in the error of a checked number.
pub(super) fn checked<T>(field: &str, number: Result<T, UnitError>) -> Result<T, Problem> {
    number.map_err(|error| Problem::invalid(format!("{field}: {error}")))
}
