//! Which applications send the recorded arrivals.

use harmonybatch_planner::units::Rate;
use harmonybatch_planner::{App, ArrivalProcess, Burst};

use crate::fixture::{BERT, Coefficients, MODELS, VGG19, app};
use crate::random::Random;
use crate::streams::{Recorded, Stream};

/// Requests a second of one application, and of three.
const ALONE: [f64; 2] = [5.0, 20.0];
const THREE: [f64; 3] = [5.0, 10.0, 20.0];

/// Applications of one model and what each sends.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) trace: String,
    pub(crate) set: String,
    pub(crate) model: &'static Coefficients,
    /// As they are declared but for their arrivals: each with the mean rate of all that it sends.
    pub(crate) apps: Vec<App>,
    pub(crate) recorded: Vec<Recorded>,
    /// Whether the second half is seen, and the first held out.
    pub(crate) turned: bool,
}

impl Case {
    fn new(
        trace: &str,
        set: &str,
        model: &'static Coefficients,
        slos: &[f64],
        recorded: Vec<Recorded>,
    ) -> Self {
        let apps = (1..)
            .zip(slos.iter().zip(&recorded))
            .map(|(number, (&slo, recorded))| app(&format!("app-{number}"), slo, recorded.whole.rate()))
            .collect();
        Self {
            trace: trace.to_owned(),
            set: set.to_owned(),
            model,
            apps,
            recorded,
            turned: false,
        }
    }

    /// The same with the other half seen.
    pub(crate) fn turned(&self) -> Self {
        Self {
            recorded: self.recorded.iter().map(Recorded::turned).collect(),
            turned: !self.turned,
            ..self.clone()
        }
    }

    /// The applications with these arrivals.
    pub(crate) fn declared(&self, arrivals: impl Fn(&Recorded) -> ArrivalProcess) -> Vec<App> {
        let declared = self.apps.iter().zip(&self.recorded);
        declared
            .map(|(app, recorded)| App {
                arrivals: arrivals(recorded),
                ..app.clone()
            })
            .collect()
    }
}

/// The burst of the half that is seen, or Poisson arrivals where it shows none.
pub(crate) fn fitted(recorded: &Recorded) -> ArrivalProcess {
    let rate = Rate::new(recorded.seen.rate()).unwrap();
    Burst::fitted(rate, &recorded.seen.dispersions()).map_or(ArrivalProcess::Poisson, ArrivalProcess::Burst)
}

/// SLOs of one, three and four applications of a model: the paper's two ranges.
fn slos(model: &Coefficients) -> (f64, [f64; 3], [f64; 4]) {
    if [VGG19.name, BERT.name].contains(&model.name) {
        (0.5, [0.5, 0.8, 1.0], [0.3, 0.5, 0.8, 1.0])
    } else {
        (1.4, [1.0, 1.6, 2.4], [1.0, 1.4, 2.0, 2.4])
    }
}

/// One application at two rates, and three that share the stream or come apart, of each model.
pub(crate) fn of_one_stream(stream: &Stream) -> Vec<Case> {
    let mut cases = alone(stream, &ALONE);
    let mut random = Random::seeded(0x0073_706c_6974);
    let shared = stream.split(&THREE, &mut random);
    let apart = stream.apart(&THREE);
    for model in &MODELS {
        let (_, three, _) = slos(model);
        cases.push(Case::new(&stream.name, "3 share", model, &three, shared.clone()));
        cases.push(Case::new(&stream.name, "3 apart", model, &three, apart.clone()));
    }
    cases
}

/// One application of each model at these rates.
pub(crate) fn alone(stream: &Stream, rates: &[f64]) -> Vec<Case> {
    let case = |&rate: &f64| {
        let recorded = stream.alone(rate);
        MODELS
            .iter()
            .map(move |model| {
                let set = format!("1 at {rate:.0}/s");
                Case::new(
                    &stream.name,
                    &set,
                    model,
                    &[slos(model).0],
                    vec![recorded.clone()],
                )
            })
            .collect::<Vec<_>>()
    };
    rates.iter().flat_map(case).collect()
}

/// The paper's four applications, each with its own trace, at `factor` times its rates.
pub(crate) fn together(streams: &[Stream], factor: f64) -> Vec<Case> {
    let recorded: Vec<Recorded> = streams
        .iter()
        .map(|stream| stream.alone(stream.rate() * factor))
        .collect();
    let set = format!("4 at x{factor}");
    let case = |model| Case::new("app1-4", &set, model, &slos(model).2, recorded.clone());
    MODELS.iter().map(case).collect()
}
