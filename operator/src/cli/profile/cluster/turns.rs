//! One pod whose CPU limit is changed in place, so that limits take turns in random order and what drifts meanwhile is no difference between them.
//!
//! ```text
//!  a pod that starts under the smallest limit    a turn of that limit; then it is given the largest, and has a turn that is not kept
//!        v
//!  a pod that starts under the largest           a turn of that limit, which must be like the one before: else the runtime looks at its limit only when it starts
//!        v
//!  the same pod                                  rounds: every limit that is not known yet has a turn, in an order that every round shuffles
//! ```
//!
//! Where the API server or the node does not resize pods, or the two pods are not alike, that is said, and every limit that is not known has a pod of its own.

use harmonybatch_api::quantity::Cpu;
use harmonybatch_controller::measured_pod::{Resized, Running};
use harmonybatch_profiler::measure::End;
use harmonybatch_profiler::samples::Samples;
use harmonybatch_profiler::turns::{Likeness, likeness};

use super::super::session::{self, Turn};
use super::{Course, Session};
use crate::cli::print;

/// What came of a pod.
enum Came<T> {
    To(T),
    /// It cannot stand for several limits.
    ToNothing,
    Stopped,
}

impl Session<'_> {
    /// Measures in turns, as far as that can be done. True if stopped.
    pub(super) async fn in_turns(&self, course: &mut Course) -> anyhow::Result<bool> {
        let first = course.round(self.arguments.seed);
        let (Some(&smallest), Some(&largest)) = (first.iter().min(), first.iter().max()) else {
            return Ok(false);
        };
        if smallest == largest {
            return Ok(false);
        }
        let came = match self.given(course, smallest, largest).await? {
            Came::To(given) => self.started(course, largest, &given).await?,
            Came::ToNothing => Came::ToNothing,
            Came::Stopped => Came::Stopped,
        };
        if let Came::Stopped = came {
            print::error("stopped; the pod is deleted; go on with the same command and --resume");
        }
        Ok(matches!(came, Came::Stopped))
    }

    /// The pod that starts under the smallest limit, and what it makes of the largest.
    async fn given(&self, course: &mut Course, smallest: Cpu, largest: Cpu) -> anyhow::Result<Came<Samples>> {
        let what = format!("cpu {smallest} (first turn): ");
        let say = |line: &str| print::error(&format!("{what}{line}"));
        let pod = self.pod(smallest, 2);
        let stop = course.stop();
        let measure = async |pod: &Running| -> anyhow::Result<Came<Samples>> {
            say(&self.round_trip(pod).await?);
            let turn = self.one_turn(course, smallest, true);
            if self.turn(course, pod, smallest, turn, what.clone()).await? == End::Stopped {
                return Ok(Came::Stopped);
            }
            match self.resized(course, pod, largest).await? {
                Came::To(()) => {}
                Came::ToNothing => return self.finish(course, pod, smallest).await,
                Came::Stopped => return Ok(Came::Stopped),
            }
            let turn = self.one_turn(course, largest, true);
            let what = format!("cpu {largest} (given to a pod that started under {smallest}): ");
            let aside = self.aside(course, pod, largest, turn, what).await?;
            Ok(match aside.end {
                End::Stopped => Came::Stopped,
                End::Known | End::BudgetSpent => Came::To(aside.file.1),
            })
        };
        let came = Box::pin(self.host().run(&pod, stop, &mut &say, measure)).await?;
        Ok(came.unwrap_or(Came::Stopped))
    }

    /// The pod that starts under the largest limit and stands for all, if it may.
    async fn started(&self, course: &mut Course, largest: Cpu, given: &Samples) -> anyhow::Result<Came<()>> {
        let what = format!("cpu {largest} (first turn): ");
        let say = |line: &str| print::error(&format!("{what}{line}"));
        let pod = self.pod(largest, course.wanted.limits.len());
        let stop = course.stop();
        let measure = async |pod: &Running| -> anyhow::Result<Came<()>> {
            say(&self.round_trip(pod).await?);
            let turn = self.one_turn(course, largest, true);
            let before = course.files.get(&largest).map(|(_, samples)| samples.clone());
            if self.turn(course, pod, largest, turn, what.clone()).await? == End::Stopped {
                return Ok(Came::Stopped);
            }
            let new = course
                .files
                .get(&largest)
                .map(|(_, samples)| since(samples, before.as_ref()));
            match likeness(given, &new.unwrap_or_default()) {
                Likeness::Alike => self.rounds(course, pod, largest).await,
                Likeness::Apart(ratio) => {
                    print::error(&format!(
                        "under {largest} vCPU batches take {ratio:.2} times as long in a pod that started under less: the runtime looks at its limit when it \
                         starts, so every limit has a pod of its own"
                    ));
                    self.finish(course, pod, largest).await
                }
                Likeness::Unknown => {
                    print::error(
                        "too few batches to see whether the runtime looks at its limit only when it starts: every limit has a pod of its own",
                    );
                    self.finish(course, pod, largest).await
                }
            }
        };
        let came = Box::pin(self.host().run(&pod, stop, &mut &say, measure)).await?;
        Ok(came.unwrap_or(Came::Stopped))
    }

    /// Turns in the pod, which had one of `at`, until nothing is missing.
    async fn rounds(&self, course: &mut Course, pod: &Running, at: Cpu) -> anyhow::Result<Came<()>> {
        let (mut at, mut warm) = (at, vec![at]);
        for number in 1_u64.. {
            let round = course.round(self.arguments.seed.wrapping_add(number));
            if round.is_empty() {
                break;
            }
            for limit in round {
                if limit != at {
                    match self.resized(course, pod, limit).await? {
                        Came::To(()) => at = limit,
                        other => return Ok(other),
                    }
                }
                let turn = self.one_turn(course, limit, !warm.contains(&limit));
                warm.push(limit);
                let what = format!("cpu {limit} (round {number}): ");
                if self.turn(course, pod, limit, turn, what).await? == End::Stopped {
                    return Ok(Came::Stopped);
                }
            }
        }
        Ok(Came::To(()))
    }

    /// Gives the pod another limit.
    async fn resized(&self, course: &Course, pod: &Running, limit: Cpu) -> anyhow::Result<Came<()>> {
        let resized = tokio::select! {
            biased;
            () = course.stop() => return Ok(Came::Stopped),
            resized = pod.resize(limit) => resized?,
        };
        Ok(match resized {
            Resized::InForce => Came::To(()),
            Resized::Refused(why) => {
                print::error(&format!(
                    "the pod's limit cannot be changed to {limit}: {why}; every limit has a pod of its own"
                ));
                Came::ToNothing
            }
        })
    }

    /// The rest of the limit that a pod started under, which then stands for no other.
    async fn finish<T>(&self, course: &mut Course, pod: &Running, limit: Cpu) -> anyhow::Result<Came<T>> {
        let turn = Turn {
            warm_up: 0,
            ..self.rest(course, limit)
        };
        let end = self
            .turn(course, pod, limit, turn, format!("cpu {limit}: "))
            .await?;
        Ok(if end == End::Stopped {
            Came::Stopped
        } else {
            Came::ToNothing
        })
    }

    fn one_turn(&self, course: &Course, limit: Cpu, is_first: bool) -> Turn {
        let budget = self.arguments.budget;
        let left = course.left(limit, budget);
        let turn = session::turn_of_limit(self.max_batch(), budget);
        Turn {
            length: turn.min(left),
            warm_up: if is_first { self.arguments.warm_up } else { 0 },
            is_one_of_several: turn < left,
        }
    }
}

/// What came since.
fn since(now: &Samples, before: Option<&Samples>) -> Samples {
    let known = |size: &u32| before.and_then(|before| before.get(size)).map_or(0, Vec::len);
    now.iter()
        .map(|(size, sample)| (*size, sample.iter().skip(known(size)).copied().collect()))
        .collect()
}
