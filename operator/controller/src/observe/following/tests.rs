//! A planned rate that follows what is seen, over simulated days with the noise of counting.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::fixtures::Random;

/// Between two polls, in seconds.
const POLL: f64 = 10.0;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

/// An application whose gateways are polled.
struct Watched {
    following: Following,
    declared: Rate,
    clock: f64,
    /// When the planned rate became what.
    changes: Vec<(f64, f64)>,
}

impl Watched {
    fn new(declared: &str) -> Self {
        Self {
            following: Following::default(),
            declared: rate(declared),
            clock: 0.0,
            changes: Vec::new(),
        }
    }

    fn planned(&self) -> f64 {
        self.following.planned().unwrap_or(self.declared).per_second()
    }

    fn poll(&mut self, requests: f64, rows: f64) {
        self.clock += POLL;
        let before = self.following.planned();
        let seen = Seen {
            seconds: POLL,
            requests,
            rows,
        };
        self.following.observe(seen, self.declared);
        if self.following.planned() != before {
            self.changes.push((self.clock, self.planned()));
        }
    }

    /// Requests of one row at a rate that may depend on the time, for so long.
    fn run(&mut self, seconds: f64, random: &mut Random, rate: impl Fn(f64) -> f64) {
        let end = self.clock + seconds;
        while self.clock < end - POLL / 2.0 {
            let requests = random.poisson(rate(self.clock) * POLL);
            self.poll(requests, requests);
        }
    }
}

#[test]
fn the_noise_of_counting_changes_nothing_for_days() {
    for (seed, text) in (0..).zip(["0.5/h", "0.01/s", "0.05/s", "0.2/s", "1/s", "5/s"]) {
        let true_rate = rate(text).per_second();
        for day in 0..3 {
            let mut random = Random::seeded(100 * seed + day);
            let mut app = Watched::new(text);
            app.run(DAY, &mut random, |_| true_rate);
            assert_eq!(app.changes, [], "{text}, day {day}");
        }
    }
}

#[test]
fn a_rate_that_wanders_by_a_twentieth_changes_nothing_for_a_day() {
    for text in ["0.05/s", "1/s", "20/s"] {
        let true_rate = rate(text).per_second();
        let mut random = Random::seeded(5);
        let mut app = Watched::new(text);
        for _ in 0..24 * 12 {
            let now = true_rate * (1.0 + 0.05 * (2.0 * random.unit() - 1.0));
            app.run(5.0 * MINUTE, &mut random, |_| now);
        }
        assert_eq!(app.changes, [], "{text}");
    }
}

/// How long it may take until a doubled rate is planned for.
fn check_rise(text: &str, times: f64, within: f64) {
    let true_rate = rate(text).per_second();
    let (mut twice, mut short) = (0, 0);
    for seed in 0..10 {
        let mut random = Random::seeded(seed);
        let mut app = Watched::new(text);
        // The step comes between two polls.
        app.run(HOUR, &mut random, |_| true_rate);
        let step = app.clock + POLL * 0.5;
        let mixed = random.poisson(true_rate * POLL * 0.5 * (1.0 + times));
        app.poll(mixed, mixed);
        app.run(6.0 * HOUR, &mut random, |_| times * true_rate);
        let Some(&(at, planned)) = app.changes.first() else {
            panic!("{text} times {times} is not followed, seed {seed}");
        };
        assert!(at - step <= within, "{text} times {times}: after {} s", at - step);
        // Three standard errors and the rounding.
        let met = planned / (times * true_rate);
        assert!((0.7..=1.8).contains(&met), "{text} times {times}: {planned}");
        twice += usize::from(app.changes.len() > 1);
        short += usize::from(met < 0.9);
    }
    assert!(twice <= 1, "{text} times {times}: {twice} of 20 followed twice");
    assert!(
        short <= 2,
        "{text} times {times}: {short} of 20 are planned too low"
    );
}

#[test]
fn a_rise_is_followed_once_and_in_minutes() {
    check_rise("20/s", 2.0, MINUTE);
    check_rise("20/s", 1.5, 2.0 * MINUTE);
    check_rise("1/s", 2.0, 8.0 * MINUTE);
    check_rise("1/s", 6.0, 4.0 * MINUTE);
}

#[test]
fn a_rise_of_a_rare_application_is_followed_once() {
    check_rise("0.2/s", 2.0, 15.0 * MINUTE);
    check_rise("0.05/s", 2.0, 30.0 * MINUTE);
    check_rise("0.05/s", 4.0, 15.0 * MINUTE);
}

#[test]
fn a_fall_is_followed_once_and_after_an_hour() {
    for (text, part) in [("20/s", 0.5), ("2/s", 0.5), ("0.1/s", 0.5), ("1/s", 0.0)] {
        let true_rate = rate(text).per_second();
        let mut twice = 0;
        for seed in 0..5 {
            let mut random = Random::seeded(seed);
            let mut app = Watched::new(text);
            app.run(HOUR, &mut random, |_| true_rate);
            let step = app.clock;
            app.run(8.0 * HOUR, &mut random, |_| part * true_rate);
            let Some(&(at, planned)) = app.changes.first() else {
                panic!("{text}: a fall to {part} is not followed, seed {seed}");
            };
            assert!(at - step >= 50.0 * MINUTE, "{text}: after {} s", at - step);
            assert!(at - step <= 6.0 * HOUR, "{text}: after {} s", at - step);
            assert!(
                planned >= 0.8 * part * true_rate && planned <= (1.4 * part + 0.01) * true_rate,
                "{text}: {planned}"
            );
            twice += usize::from(app.changes.len() > 1);
        }
        assert!(twice <= 1, "{text} to {part}: {twice} of 5 followed twice");
    }
}

#[test]
fn a_night_and_a_day_follow_the_day_without_flapping() {
    // Between 2/s and 20/s over a day, as a sine.
    let mut random = Random::seeded(3);
    let mut app = Watched::new("11/s");
    let daily = |time: f64| 11.0 - 9.0 * (std::f64::consts::TAU * time / DAY).cos();
    app.run(2.0 * DAY, &mut random, daily);
    // Ten times up and down by steps of a tenth to a quarter.
    assert!(
        (20..=120).contains(&app.changes.len()),
        "{} changes",
        app.changes.len()
    );
    let turns = app
        .changes
        .windows(3)
        .filter(|three| (three[1].1 > three[0].1) != (three[2].1 > three[1].1))
        .count();
    assert!(turns <= 5, "{turns} turns in two days: {:?}", app.changes);
}

#[test]
fn a_growth_without_an_end_is_not_waited_out() {
    let mut random = Random::seeded(4);
    let mut app = Watched::new("20/s");
    app.run(HOUR, &mut random, |_| 20.0);
    // A tenth more every minute, for half an hour.
    let mut lag = f64::INFINITY;
    app.run(0.5 * HOUR, &mut random, |time| {
        20.0 * 1.1_f64.powf((time - HOUR) / MINUTE)
    });
    lag = lag.min(app.planned() / (20.0 * 1.1_f64.powf(30.0)));
    // Behind by no more than the patience and the look.
    assert!(lag >= 1.1_f64.powf(-8.0), "{lag}");
}

#[test]
fn requests_of_many_rows_scatter_by_requests() {
    let mut random = Random::seeded(6);
    let mut app = Watched::new("5/s");
    for _ in 0..6 * 60 * 24 {
        // A request every 12.8 s with 64 rows.
        let requests = random.poisson(5.0 / 64.0 * POLL);
        app.poll(requests, requests * 64.0);
    }
    assert_eq!(app.changes, []);
}

#[test]
fn bursts_that_were_declared_are_no_rise() {
    let mut random = Random::seeded(8);
    let (factor, duration) = (4.0, 60.0);
    let mut app = Watched::new("5/s");
    app.following.scatters(Scatter::Bursts { factor, duration });
    let mut careless = Watched::new("5/s");
    let (mut in_burst, mut left) = (false, duration * 7.0);
    for _ in 0..6 * 60 * 24 {
        left -= POLL;
        if left <= 0.0 {
            in_burst = !in_burst;
            left = random.exponential(if in_burst {
                1.0 / duration
            } else {
                1.0 / (7.0 * duration)
            });
        }
        let speed = if in_burst { factor } else { factor / 7.0 };
        let requests = random.poisson(5.0 * speed * POLL);
        app.poll(requests, requests);
        careless.poll(requests, requests);
    }
    assert!(app.changes.len() <= 1, "{:?}", app.changes);
    assert!(careless.changes.len() > 3, "without the declaration they are");
}

#[test]
fn a_new_controller_goes_on_with_what_was_planned() {
    let mut random = Random::seeded(9);
    let mut app = Watched::new("1/s");
    app.following = Following::new(Some(rate("12/s")));
    app.run(45.0 * MINUTE, &mut random, |_| 12.0);
    assert_eq!(app.following.planned(), Some(rate("12/s")));
    assert_eq!(app.changes, []);
}
