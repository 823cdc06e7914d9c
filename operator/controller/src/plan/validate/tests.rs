//! What is wrong is named on the object that it is wrong in, and stops nobody else.

use harmonybatch_api::InferenceModelStatus;
use harmonybatch_api::inference_app::{Burst, RateLimits, Trace};
use harmonybatch_api::inference_model::{self as written, KeyRef, MeasuredProfile, ProfileFrom};
use harmonybatch_api::inference_platform;
use harmonybatch_planner::{self as planner, ArrivalProcess, units};

use k8s_openapi::api::core::v1::ConfigMap;

use super::*;
use crate::fixtures;
use crate::plan::TracePlace;
use harmonybatch_api::inference_platform::{
    Billing, ExtendedResource, GpuBackend, GpuPool, LatencyModel, ShareQuantity,
};

fn inputs() -> Inputs {
    Inputs {
        platforms: vec![fixtures::platform()],
        models: vec![fixtures::model()],
        apps: vec![
            fixtures::app("good", "500ms", "5/s"),
            fixtures::app("bad", "500ms", "5/s"),
        ],
        ..Inputs::default()
    }
}

/// Follows its observed rate within these limits.
fn observed(app: &mut InferenceApp, min: Option<&str>, max: Option<&str>) {
    app.spec.rate_source = RateSource::Observed;
    app.spec.rate_limits = Some(RateLimits {
        min: min.map(str::to_owned),
        max: max.map(str::to_owned),
    });
}

/// The rate that is planned for where this is seen of an application that declares 5/s.
fn planned_rate(seen: Option<&str>, min: Option<&str>, max: Option<&str>) -> (String, RateSource) {
    let mut inputs = inputs();
    observed(&mut inputs.apps[0], min, max);
    let good = ("shop".to_owned(), "good".to_owned());
    inputs
        .rates
        .extend(seen.map(|seen| (good.clone(), seen.parse().expect("a rate"))));
    let validated = validate(&inputs, &BTreeSet::new());
    let contract = &validated.contracts[&good];
    let apps = validated.requests["default"].models[0].apps();
    let planned = apps
        .iter()
        .find(|app| app.name == "good")
        .expect("good is planned");
    let parsed: Rate = contract.rate.parse().expect("a rate");
    assert!((planned.rate.get() - parsed.per_second()).abs() < 1e-12);
    (contract.rate.clone(), contract.rate_source)
}

#[test]
fn an_observed_rate_is_planned_for_within_its_limits() {
    use RateSource::{Declared, Observed};
    type Case = (
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
        &'static str,
        RateSource,
    );
    let cases: [Case; 7] = [
        (None, None, None, "5/s", Declared),
        (Some("12/s"), None, None, "12/s", Observed),
        (Some("120/s"), None, None, "50/s", Observed),
        (Some("2/m"), None, None, "30/m", Observed),
        (Some("12/s"), None, Some("480/m"), "480/m", Observed),
        (Some("2/m"), Some("1/s"), None, "1/s", Observed),
        (None, Some("6/s"), None, "6/s", Declared),
    ];
    for (seen, min, max, rate, source) in cases {
        assert_eq!(
            planned_rate(seen, min, max),
            (rate.to_owned(), source),
            "{seen:?} {min:?} {max:?}"
        );
    }
}

/// Breaks the inputs, and expects exactly this one complaint, on that object, with the good app planned where it can be.
fn check(break_it: impl Fn(&mut Inputs), kind: Kind, name: &str, part: &str) {
    let mut inputs = inputs();
    break_it(&mut inputs);
    let validated = validate(&inputs, &BTreeSet::from([("shop".to_owned(), "mine".to_owned())]));
    let found: Vec<_> = validated
        .problems
        .iter()
        .filter(|((of, key), _)| *of == kind && key.1 == name)
        .collect();
    assert_eq!(found.len(), 1, "{:?}", validated.problems);
    let message = &found[0].1.message;
    assert!(message.contains(part), "{message}");
    if kind == Kind::App {
        assert!(
            validated
                .contracts
                .contains_key(&("shop".to_owned(), "good".to_owned()))
        );
        assert_eq!(validated.problems.len(), 1);
    }
}

#[test]
fn a_wrong_field_of_an_app_is_named_and_the_others_go_on() {
    type Break = fn(&mut InferenceApp);
    let cases: [(Break, &str); 18] = [
        (
            |app| app.spec.rate_limits = Some(RateLimits::default()),
            "rateLimits go with rateSource Observed",
        ),
        (
            |app| observed(app, Some("1/x"), None),
            "rateLimits.min: \"1/x\" has an unknown unit",
        ),
        (
            |app| observed(app, Some("60/s"), None),
            "min 60/s is above max 50/s",
        ),
        (
            |app| app.spec.slo.latency = "0ms".to_owned(),
            "slo.latency 0s must be above 0",
        ),
        (
            |app| app.spec.slo.latency = "500".to_owned(),
            "slo.latency: \"500\" has no unit",
        ),
        (
            |app| app.spec.slo.latency = "-5ms".to_owned(),
            "slo.latency: \"-5ms\" is negative",
        ),
        (
            |app| app.spec.slo.latency = "99999999s".to_owned(),
            "slo.latency: \"99999999s\" is too large",
        ),
        (|app| app.spec.slo.percentile = "0".to_owned(), "slo.percentile: "),
        (
            |app| app.spec.slo.percentile = "101".to_owned(),
            "slo.percentile: ",
        ),
        (|app| app.spec.rate = "0/s".to_owned(), "rate: "),
        (|app| app.spec.rate = "5".to_owned(), "rate: \"5\" has no unit"),
        (
            |app| app.spec.burst = Some(burst("1", "30s")),
            "burst: burst factor 1 must be above 1 and at most 1000",
        ),
        (|app| app.spec.burst = Some(burst("4x", "30s")), "burst.factor: "),
        (
            |app| app.spec.burst = Some(burst("4", "0s")),
            "burst: burst duration 0ms must be above 0",
        ),
        (
            |app| app.spec.timeout = Some("100ms".to_owned()),
            "timeout 100ms is shorter than slo.latency 500ms",
        ),
        (
            |app| app.spec.model_ref.name = "none".to_owned(),
            "modelRef.name: InferenceModel none does not exist",
        ),
        (
            |app| app.spec.service_name = Some("mine".to_owned()),
            "serviceName: a Service mine exists",
        ),
        (
            |app| {
                // Younger than the other, which has no age at all.
                app.metadata.creation_timestamp = Some(fixtures::at(1));
                app.spec.service_name = Some("good-infer".to_owned());
            },
            "InferenceApp good has it",
        ),
    ];
    for (break_it, part) in cases {
        check(|inputs| break_it(&mut inputs.apps[1]), Kind::App, "bad", part);
    }
}

#[test]
fn a_model_to_be_measured_is_planned_from_what_was_measured() {
    let unmeasured = |inputs: &mut Inputs| {
        let profile = &mut inputs.models[0].spec.profile;
        profile.from = ProfileFrom::Measure;
        profile.cpu.clear();
    };
    check(
        unmeasured,
        Kind::Model,
        "mlp",
        "there is no measurement yet: see the condition Profiled",
    );
    let mut inputs = inputs();
    let given = validate(&inputs, &BTreeSet::new()).requests;
    let model = &mut inputs.models[0];
    let cpu = std::mem::take(&mut model.spec.profile.cpu);
    unmeasured(&mut inputs);
    inputs.models[0].status = Some(InferenceModelStatus {
        profile: Some(MeasuredProfile {
            image: "example.org/runtime:0".to_owned(),
            subject: "of an image before".to_owned(),
            cpu,
            after_idle: None,
            provenance: None,
        }),
        ..InferenceModelStatus::default()
    });
    let validated = validate(&inputs, &BTreeSet::new());
    assert_eq!(validated.problems, BTreeMap::new());
    assert_eq!(validated.requests, given, "the same entries, wherever they stand");
}

#[test]
fn every_form_of_latency_is_read_as_it_is_written() {
    let mut inputs = inputs();
    let cpu = &mut inputs.models[0].spec.profile.cpu;
    cpu[0].mean = written::CpuLatency::Hyperbolic(written::Hyperbolic {
        work: "10ms".to_owned(),
        fixed: "5ms".to_owned(),
    });
    cpu[0].max = written::CpuLatency::Throttled(written::Throttled {
        work: "30ms".to_owned(),
        parallelism: "1.5".to_owned(),
        period: "50ms".to_owned(),
    });
    let validated = validate(&inputs, &BTreeSet::new());
    let found = validated.requests["default"].models[0].profile().cpu()[0];
    assert_eq!(
        found.mean,
        planner::Hyperbolic::new(0.01, 0.005)
            .expect("coefficients")
            .into()
    );
    assert_eq!(
        found.max,
        planner::Throttled::new(0.03, 1.5, 0.05)
            .expect("coefficients")
            .into()
    );
}

#[test]
fn a_wrong_model_or_platform_is_named_and_its_apps_say_which() {
    let no_unit = |inputs: &mut Inputs| inputs.models[0].spec.runtime.memory.base = "1Xi".to_owned();
    check(
        no_unit,
        Kind::Model,
        "mlp",
        "runtime.memory.base: \"1Xi\" has an unknown unit",
    );
    let twice = |inputs: &mut Inputs| inputs.models[0].spec.profile.cpu[1].batch = 1;
    check(twice, Kind::Model, "mlp", "two entries for batch 1");
    let slow_period = |inputs: &mut Inputs| {
        inputs.models[0].spec.profile.cpu[1].max = written::CpuLatency::Throttled(written::Throttled {
            work: "10ms".to_owned(),
            parallelism: "1".to_owned(),
            period: "2s".to_owned(),
        });
    };
    check(
        slow_period,
        Kind::Model,
        "mlp",
        "profile.cpu[1].max.throttled: period 2 of a throttled latency must be between 0.001 and 1 seconds",
    );
    let nowhere = |inputs: &mut Inputs| inputs.models[0].spec.platform_ref.name = "cloud".to_owned();
    check(
        nowhere,
        Kind::Model,
        "mlp",
        "platformRef.name: InferencePlatform cloud does not exist",
    );
    let empty = |inputs: &mut Inputs| {
        if let Some(grid) = &mut inputs.platforms[0].spec.cpu {
            grid.min = "8".to_owned();
        }
    };
    check(
        empty,
        Kind::Platform,
        "default",
        "cpu.min 8000m exceeds cpu.max 4000m",
    );
    let limited = |inputs: &mut Inputs| {
        let spec = &mut inputs.platforms[0].spec;
        spec.billing = Billing::PerInvocation;
        spec.gpu_pools = vec![GpuPool {
            name: "a10".to_owned(),
            device: "a10".to_owned(),
            units_per_device: 24,
            devices: Some(2),
            memory_per_unit: "1Gi".to_owned(),
            slice: "2ms".to_owned(),
            latency_model: LatencyModel::FixedShare,
            tenants: None,
            backend: GpuBackend::ExtendedResource(ExtendedResource {
                name: "example.com/gpu-slice".to_owned(),
                quantity: ShareQuantity::Units,
            }),
            placement: None,
        }];
    };
    check(
        limited,
        Kind::Platform,
        "default",
        "gpu pool a10: devices limits what is planned for pods that stay up",
    );
    let mut inputs = inputs();
    empty(&mut inputs);
    let validated = validate(&inputs, &BTreeSet::new());
    let said = validated
        .problem(Kind::App, "shop", "good")
        .map(|it| it.message.as_str());
    assert!(
        said.is_some_and(|it| it.contains("InferenceModel mlp is not accepted")),
        "{said:?}"
    );
    assert!(validated.requests.is_empty());
}

/// The longest SLO that may be written; its group must be one that the API server takes.
#[test]
fn the_deadline_of_a_long_slo_is_one_that_may_be_written() {
    let mut inputs = inputs();
    inputs.apps[0].spec.slo.latency = "3600s".to_owned();
    inputs.apps[0].spec.timeout = None;
    let validated = validate(&inputs, &BTreeSet::new());
    assert_eq!(
        validated.contracts[&key(&inputs.apps[0])].timeout.to_string(),
        "3600s"
    );
}

fn burst(factor: &str, duration: &str) -> Burst {
    Burst {
        factor: factor.to_owned(),
        duration: duration.to_owned(),
    }
}

#[test]
fn bursts_reach_the_planner_where_replicas_are_billed_and_are_refused_elsewhere() {
    let mut inputs = inputs();
    inputs.apps[0].spec.burst = Some(burst("4", "30s"));
    inputs.apps.truncate(1);
    let validated = validate(&inputs, &BTreeSet::new());
    let app = &validated.requests["default"].models[0].apps()[0];
    let expected = units::Seconds::new(30.0).map(|duration| planner::Burst::new(4.0, duration).ok());
    assert_eq!(
        Ok(Some(app.arrivals.clone())),
        expected.map(|burst| burst.map(ArrivalProcess::Burst))
    );

    check(
        |inputs| {
            inputs.platforms[0].spec.billing = inference_platform::Billing::PerInvocation;
            inputs.apps[1].spec.burst = Some(burst("4", "30s"));
        },
        Kind::App,
        "bad",
        "burst: InferencePlatform default bills PerInvocation",
    );
}

/// Lets an application name the key `times` of a ConfigMap `arrivals`.
fn recorded(app: &mut InferenceApp) {
    app.spec.trace = Some(Trace {
        config_map_key_ref: KeyRef {
            name: "arrivals".to_owned(),
            key: "times".to_owned(),
        },
    });
}

/// What stands in the ConfigMap `arrivals`.
fn recording(text: &str) -> Traces {
    let config_map = ConfigMap {
        data: Some([("times".to_owned(), text.to_owned())].into()),
        ..ConfigMap::default()
    };
    let place = TracePlace {
        config_map: ("shop".to_owned(), "arrivals".to_owned()),
        key: "times".to_owned(),
    };
    Traces::from([(place.clone(), place.read(&config_map))])
}

#[test]
fn traces_reach_the_planner_once_for_all_apps_that_name_them() {
    let mut inputs = inputs();
    inputs.apps.iter_mut().for_each(recorded);
    inputs.traces = recording("0\n0.5\n2\n");
    let validated = validate(&inputs, &BTreeSet::new());
    let expected = planner::Trace::new(&[0.0, 0.5, 2.0]).ok();
    let apps = validated.requests["default"].models[0].apps();
    let read: Vec<_> = apps
        .iter()
        .filter_map(|app| match &app.arrivals {
            ArrivalProcess::Trace(trace) => Some(trace),
            _ => None,
        })
        .collect();
    assert_eq!(read.len(), 2, "{:?}", validated.problems);
    assert_eq!(Some(&**read[0]), expected.as_ref());
    assert!(std::sync::Arc::ptr_eq(read[0], read[1]));
}

#[test]
fn a_trace_that_cannot_be_planned_for_is_named_on_its_app_and_the_others_go_on() {
    type Break = fn(&mut Inputs);
    let cases: [(Break, &str); 5] = [
        (
            |inputs| inputs.traces = recording("0\nsoon"),
            "trace.configMapKeyRef: ConfigMap arrivals, key times: line 2: \"soon\" is no time",
        ),
        (
            |inputs| inputs.traces = recording("time\n7"),
            "ConfigMap arrivals, key times: a trace of 1 arrivals must have at least 2 and at most 1000000",
        ),
        (
            |_| (),
            "trace.configMapKeyRef.name: ConfigMap arrivals has not been read",
        ),
        (
            |inputs| {
                inputs.traces = recording("0\n1");
                inputs.apps[1].spec.burst = Some(burst("4", "30s"));
            },
            "trace: trace and burst exclude each other",
        ),
        (
            |inputs| {
                inputs.traces = recording("0\n1");
                inputs.platforms[0].spec.billing = inference_platform::Billing::PerInvocation;
            },
            "trace: InferencePlatform default bills PerInvocation, whose plans are made for Poisson arrivals: leave trace out",
        ),
    ];
    for (break_it, part) in cases {
        check(
            |inputs| {
                recorded(&mut inputs.apps[1]);
                break_it(inputs);
            },
            Kind::App,
            "bad",
            part,
        );
    }
}

#[test]
fn defaults_are_those_of_the_design() {
    let validated = validate(&inputs(), &BTreeSet::new());
    let contract = &validated.contracts[&("shop".to_owned(), "good".to_owned())];
    assert_eq!(contract.service_name, "good-infer");
    assert_eq!(contract.timeout.to_string(), "2s");
    assert_eq!(
        (contract.percentile.as_str(), contract.rate.as_str()),
        ("99", "5/s")
    );
    let mut short = inputs();
    short.apps[0].spec.slo.latency = "100ms".to_owned();
    let contract = &validate(&short, &BTreeSet::new()).contracts[&("shop".to_owned(), "good".to_owned())];
    assert_eq!(contract.timeout.to_string(), "1s");
}

#[test]
fn planner_and_sharing_are_passed_on() {
    use harmonybatch_api::inference_platform as written;
    use harmonybatch_planner::{Planner, Sharing};

    let mut inputs = inputs();
    let spec = &mut inputs.platforms[0].spec;
    spec.planner = written::Planner::TwoStage;
    spec.gpu_pools[0].latency_model = written::LatencyModel::EqualShare;
    spec.gpu_pools[0].tenants = Some(4);
    let platform = &validate(&inputs, &BTreeSet::new()).requests["default"].platform;
    assert_eq!(platform.planner(), Planner::TwoStage);
    let tenants = std::num::NonZeroU16::new(4);
    assert_eq!(platform.gpu_pools()[0].sharing(), Sharing::EqualShare { tenants });
}

#[test]
fn the_order_of_objects_does_not_matter() {
    let forward = inputs();
    let mut backward = inputs();
    backward.apps.reverse();
    let plans =
        |inputs: &Inputs| crate::plan::decide(&validate(inputs, &BTreeSet::new()).requests["default"]);
    assert_eq!(plans(&forward), plans(&backward));
}
