//! The recorded arrivals: where they come from, and how they become those of an application.

use std::path::Path;
use std::sync::Arc;

use harmonybatch_planner::Trace;

use crate::random::Random;
use crate::recorded::azure;

/// Requests a minute of the four applications in the paper's repository, over two hours.
const MINUTES: &str = include_str!("../paper/traces.txt");
const MINUTE: f64 = 60.0;

/// Recorded arrivals, in seconds from the beginning of the record.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) name: String,
    times: Vec<f64>,
    length: f64,
}

/// What one application sends: all of it, and the two halves of the time, of which plans see one.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) whole: Arc<Trace>,
    pub(crate) seen: Arc<Trace>,
    pub(crate) held_out: Arc<Trace>,
}

impl Recorded {
    /// The other half seen.
    pub(crate) fn turned(&self) -> Self {
        Self {
            whole: Arc::clone(&self.whole),
            seen: Arc::clone(&self.held_out),
            held_out: Arc::clone(&self.seen),
        }
    }
}

/// The two Azure traces, from the folder that holds `azure-llm-2023`.
pub(crate) fn of_azure(folder: &Path) -> std::io::Result<Vec<Stream>> {
    let read = |name: &str| {
        let times = azure(&folder.join("azure-llm-2023").join(format!("{name}.csv")))?;
        let began = times[0];
        let times: Vec<f64> = times.iter().map(|time| time - began).collect();
        Ok(Stream {
            name: name.to_owned(),
            length: *times.last().unwrap(),
            times,
        })
    };
    ["conv", "code"].into_iter().map(read).collect()
}

/// The paper's four, as many requests each minute as were counted, evenly at random within it: a Poisson process of which the counts are known.
pub(crate) fn of_the_paper() -> Vec<Stream> {
    let mut random = Random::seeded(0x006d_696e_7574_6573);
    let lines = MINUTES.lines().filter(|line| !line.starts_with('#'));
    lines
        .zip(1..)
        .map(|(line, number)| {
            let counts: Vec<u32> = line.split(' ').map(|count| count.parse().unwrap()).collect();
            let mut times = Vec::new();
            let mut length = 0.0;
            for count in counts {
                times.extend((0..count).map(|_| length + MINUTE * random.unit()));
                length += MINUTE;
            }
            times.sort_by(f64::total_cmp);
            Stream {
                name: format!("app{number}"),
                times,
                length,
            }
        })
        .collect()
}

impl Stream {
    /// Arrivals a second.
    pub(crate) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "thousands of arrivals")]
        let arrivals = self.times.len() as f64;
        arrivals / self.length
    }

    /// The stream with its time scaled to this rate.
    fn at(&self, rate: f64) -> Self {
        let scale = self.rate() / rate;
        Self {
            name: self.name.clone(),
            times: self.times.iter().map(|time| time * scale).collect(),
            length: self.length * scale,
        }
    }

    /// One application that sends all of it, at this rate.
    pub(crate) fn alone(&self, rate: f64) -> Recorded {
        self.at(rate).recorded()
    }

    /// Applications that share it: each arrival is one of theirs, in proportion to their rates.
    pub(crate) fn split(&self, rates: &[f64], random: &mut Random) -> Vec<Recorded> {
        let total: f64 = rates.iter().sum();
        let scaled = self.at(total);
        let mut parts = vec![
            Self {
                times: Vec::new(),
                ..scaled.clone()
            };
            rates.len()
        ];
        for time in scaled.times {
            let mut left = random.unit() * total;
            let drawn = rates.iter().position(|rate| {
                left -= rate;
                left <= 0.0
            });
            parts[drawn.unwrap_or(0)].times.push(time);
        }
        parts.iter().map(Self::recorded).collect()
    }

    /// Applications whose bursts do not coincide: each sends all of it, at its rate, and begins elsewhere in either half.
    pub(crate) fn apart(&self, rates: &[f64]) -> Vec<Recorded> {
        let count = f64::from(u32::try_from(rates.len()).unwrap());
        (0..)
            .zip(rates)
            .map(|(place, &rate)| {
                let mut stream = self.at(rate);
                let half = stream.length / 2.0;
                for time in &mut stream.times {
                    let began = if *time < half { 0.0 } else { half };
                    // The last arrival of a record lies at its very end.
                    let within = (*time - began).min(half * (1.0 - 1e-12));
                    *time = began + (within + half * f64::from(place) / count) % half;
                }
                stream.times.sort_by(f64::total_cmp);
                stream.recorded()
            })
            .collect()
    }

    fn recorded(&self) -> Recorded {
        let middle = self.times.partition_point(|time| *time < self.length / 2.0);
        let trace = |times: &[f64]| Arc::new(Trace::new(times).unwrap());
        Recorded {
            whole: trace(&self.times),
            seen: trace(&self.times[..middle]),
            held_out: trace(&self.times[middle..]),
        }
    }
}
