//! Options of what is told of single requests.

use std::time::Duration;

use clap::{Args, ValueEnum};
use harmonybatch_gateway::{
    Options,
    access::AccessLog,
    trace::{Sampler, Sampling, Settings},
};

/// Longest time for which a span waits for others to be exported with it.
const DELAY: Duration = Duration::from_secs(1);

/// Traces and the access log. Metrics are at /metrics of --admin.
#[derive(Debug, Args)]
#[group(id = "observability")]
#[command(next_help_heading = "Traces and access log")]
pub(crate) struct Arguments {
    /// Collector that takes traces as OTLP over HTTP, such as `http://collector:4318`; without it there are none. Of OpenTelemetry's variables
    /// OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES count as well
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL"
    )]
    traces: Option<String>,
    /// Which requests are traced. The parent-based samplers leave it to the caller where its traceparent says
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        default_value = "parentbased_traceidratio",
        value_name = "SAMPLER"
    )]
    trace_sampler: SamplerName,
    /// Part of the requests that is traced, from 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "0.01", value_name = "RATIO", value_parser = ratio)]
    trace_ratio: f64,
    /// Which requests are logged, a line each, as events of the target `access` and the level info
    #[arg(
        long,
        env = "HARMONYBATCH_ACCESS_LOG",
        default_value = "errors",
        value_name = "WHICH"
    )]
    access_log: Which,
}

/// The samplers of OpenTelemetry.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum SamplerName {
    AlwaysOn,
    AlwaysOff,
    Traceidratio,
    #[value(name = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    #[value(name = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    #[value(name = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// Requests that are logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// None
    Off,
    /// Those that got no answer, up to 100 a second
    Errors,
    /// All
    All,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

impl Arguments {
    /// Sets what is told.
    pub(crate) fn set(self, options: &mut Options) {
        let sampler = match self.trace_sampler {
            SamplerName::AlwaysOn => Sampler::AlwaysOn,
            SamplerName::AlwaysOff => Sampler::AlwaysOff,
            SamplerName::Traceidratio => Sampler::TraceIdRatio,
            SamplerName::ParentBasedAlwaysOn => Sampler::ParentBasedAlwaysOn,
            SamplerName::ParentBasedAlwaysOff => Sampler::ParentBasedAlwaysOff,
            SamplerName::ParentBasedTraceIdRatio => Sampler::ParentBasedTraceIdRatio,
        };
        // To OpenTelemetry a variable that is empty is one that is not there.
        let endpoint = self.traces.filter(|endpoint| !endpoint.is_empty());
        options.traces = endpoint.map(|endpoint| Settings {
            endpoint,
            sampling: Sampling::new(sampler, self.trace_ratio),
            delay: DELAY,
        });
        options.access_log = match self.access_log {
            Which::Off => AccessLog::Off,
            Which::Errors => AccessLog::Errors,
            Which::All => AccessLog::All,
        };
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        observability: Arguments,
    }

    fn options(arguments: &[&str]) -> Options {
        let line = [&["gateway"], arguments].concat();
        let mut options = Options::default();
        Line::try_parse_from(line)
            .unwrap()
            .observability
            .set(&mut options);
        options
    }

    #[test]
    fn there_are_no_traces_without_a_collector_and_a_hundredth_of_the_requests_with_one() {
        assert_eq!(options(&[]).traces, None);
        assert_eq!(options(&["--traces="]).traces, None);
        let traces = options(&["--traces=http://collector:4318"]).traces.unwrap();
        assert_eq!(traces.endpoint, "http://collector:4318");
        let hundredth = Sampling::new(Sampler::ParentBasedTraceIdRatio, 0.01);
        assert_eq!(traces.sampling, hundredth);
        assert_eq!(options(&[]).access_log, AccessLog::Errors);
    }

    #[test]
    fn samplers_have_the_names_that_opentelemetry_gives_them() {
        for (name, sampler) in [
            ("always_on", Sampler::AlwaysOn),
            ("always_off", Sampler::AlwaysOff),
            ("traceidratio", Sampler::TraceIdRatio),
            ("parentbased_always_on", Sampler::ParentBasedAlwaysOn),
            ("parentbased_always_off", Sampler::ParentBasedAlwaysOff),
            ("parentbased_traceidratio", Sampler::ParentBasedTraceIdRatio),
        ] {
            let sampler_argument = format!("--trace-sampler={name}");
            let arguments = ["--traces=http://a", &sampler_argument, "--trace-ratio=1e-05"];
            let traces = options(&arguments).traces.unwrap();
            assert_eq!(traces.sampling, Sampling::new(sampler, 0.000_01), "{name}");
        }
        for ratio in ["-1", "1.1", "NaN", ""] {
            let ratio = format!("--trace-ratio={ratio}");
            assert!(Line::try_parse_from(["gateway", &ratio]).is_err(), "{ratio}");
        }
    }
}
