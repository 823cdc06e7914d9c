//! Arrivals given on the command line, in place of those that the applications declare.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use harmonybatch_api::arrival_times;
use harmonybatch_api::quantity::{Decimal, Duration};
use harmonybatch_controller::plan::Validated;
use harmonybatch_planner::units::{Rate, Seconds};
use harmonybatch_planner::{App, ArrivalProcess, Billing, ModelSet};

/// An application, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    namespace: Option<String>,
    /// None for all.
    app: Option<String>,
}

/// `[NAMESPACE/]APP=FILE`
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    target: Target,
    file: PathBuf,
}

/// `[[NAMESPACE/]APP=]FACTOR,DURATION`
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    target: Target,
    burst: harmonybatch_planner::Burst,
}

impl Target {
    fn of(text: &str) -> Self {
        let (namespace, app) = match text.split_once('/') {
            Some((namespace, app)) => (Some(namespace.to_owned()), app),
            None => (None, text),
        };
        Self {
            namespace,
            app: Some(app.to_owned()),
        }
    }

    fn is(&self, namespace: &str, app: &App) -> bool {
        self.namespace.as_deref().is_none_or(|it| it == namespace)
            && self.app.as_deref().is_none_or(|it| it == app.name)
    }
}

impl FromStr for Trace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((app, file)) if !app.is_empty() && !file.is_empty() => Ok(Self {
                target: Target::of(app),
                file: PathBuf::from(file),
            }),
            _ => Err("write APP=FILE, such as search=arrivals.csv".to_owned()),
        }
    }
}

impl FromStr for Burst {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (target, burst) = match text.split_once('=') {
            Some((app, burst)) => (Target::of(app), burst),
            None => (
                Target {
                    namespace: None,
                    app: None,
                },
                text,
            ),
        };
        let Some((factor, duration)) = burst.split_once(',') else {
            return Err("write FACTOR,DURATION or APP=FACTOR,DURATION, such as 4,30s".to_owned());
        };
        let factor: Decimal = factor.parse().map_err(|error| format!("factor: {error}"))?;
        let duration: Duration = duration.parse().map_err(|error| format!("duration: {error}"))?;
        let duration = Seconds::new(duration.as_secs_f64()).map_err(|error| error.to_string())?;
        let burst =
            harmonybatch_planner::Burst::new(factor.to_f64(), duration).map_err(|error| error.to_string())?;
        Ok(Self { target, burst })
    }
}

/// How fast a recorded trace is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tempo {
    /// So that its mean rate is the application's.
    Scaled,
    /// At the times that it has: its rate is the application's from now on.
    AsRecorded,
}

/// Gives applications these arrivals; traces win over bursts.
pub(crate) fn declare(
    validated: &mut Validated,
    traces: &[Trace],
    tempo: Tempo,
    bursts: &[Burst],
) -> anyhow::Result<()> {
    for burst in bursts {
        set(
            validated,
            &burst.target,
            &ArrivalProcess::Burst(burst.burst),
            None,
        )?;
    }
    for trace in traces {
        let text =
            std::fs::read_to_string(&trace.file).with_context(|| format!("read {}", trace.file.display()))?;
        let read = arrival_times::read(&text)
            .map_err(anyhow::Error::from)
            .and_then(|times| Ok(harmonybatch_planner::Trace::new(&times)?));
        let read = read.with_context(|| trace.file.display().to_string())?;
        let rate = match tempo {
            Tempo::Scaled => None,
            Tempo::AsRecorded => {
                let rate = Rate::new(read.rate());
                Some(rate.with_context(|| format!("the rate of {}", trace.file.display()))?)
            }
        };
        set(
            validated,
            &trace.target,
            &ArrivalProcess::Trace(Arc::new(read)),
            rate,
        )?;
    }
    Ok(())
}

fn set(
    validated: &mut Validated,
    target: &Target,
    arrivals: &ArrivalProcess,
    rate: Option<Rate>,
) -> anyhow::Result<()> {
    let mut found = false;
    for request in validated.requests.values_mut() {
        let billing = request.platform.billing();
        for model in &mut request.models {
            let mut apps = model.apps().to_vec();
            let namespace = model.namespace().to_owned();
            for app in apps.iter_mut().filter(|app| target.is(&namespace, app)) {
                if billing == Billing::PerInvocation {
                    bail!(
                        "app {}: its platform bills PerInvocation, whose plans are made for Poisson arrivals",
                        app.name
                    );
                }
                app.arrivals = arrivals.clone();
                app.rate = rate.unwrap_or(app.rate);
                found = true;
            }
            *model = ModelSet::new(namespace, model.model(), model.profile().clone(), apps)?;
        }
    }
    if !found {
        bail!(
            "no InferenceApp {} in the files",
            target.app.as_deref().unwrap_or_default()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_for_one_application_or_for_all() {
        let target = |text: &str| text.parse::<Burst>().ok().map(|burst| burst.target.app);
        assert_eq!(target("4,30s"), Some(None));
        assert_eq!(target("search=4,30s"), Some(Some("search".to_owned())));
        assert_eq!(target("shop/search=4,30s"), Some(Some("search".to_owned())));
        for bad in ["4", "4,", "1,30s", "4,0s", "search=4", "x,30s"] {
            assert!(bad.parse::<Burst>().is_err(), "{bad}");
        }
    }
}
