//! Time per arrival as the planner's simulation sees it: a few members, one lane, a replica that is nearly always busy.
//!
//! `cargo bench -p harmonybatch-dispatch`

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::{error::Error, hint::black_box, time::Instant};

use harmonybatch_dispatch::{Dispatcher, MemberRule, Rule};

const ARRIVALS: u64 = 5_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    for members in [1_u32, 2, 4, 8, 32] {
        for max_wait in [0, 200_000_000] {
            let elapsed = simulate(members, max_wait)?;
            println!("{members:>3} members, max_wait {max_wait:>9} ns: {elapsed:>6.1} ns per arrival");
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn simulate(members: u32, max_wait: u64) -> Result<f64, Box<dyn Error>> {
    let rules = (0..members).map(|member| MemberRule {
        slo: 500_000_000 + u64::from(member),
        max_wait,
    });
    let mut dispatcher = Dispatcher::new(Rule {
        batch_size: 8,
        members: rules.collect(),
    })?;
    let lane = dispatcher.open_lane();
    let mut batch = Vec::with_capacity(8);
    let (mut random, mut now, mut free_at, mut served) = (0x9e37_79b9_7f4a_7c15_u64, 0_u64, 0_u64, 0_u64);
    let started = Instant::now();
    for _ in 0..ARRIVALS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        now += random % 20_000_000;
        while let Some(ready) = dispatcher
            .next_ready()
            .map(|ready| ready.max(free_at))
            .filter(|ready| *ready < now)
        {
            if let Some(taken) = dispatcher.take(ready, &mut batch) {
                free_at = ready + 60_000_000 + u64::from(taken.rows) * 1_000_000;
            }
            served += black_box(&batch).iter().sum::<u64>() & 1;
            batch.clear();
        }
        let member = u32::try_from(random >> 40)? % members;
        dispatcher.arrive(now, lane, member, 1, now)?;
    }
    black_box(served);
    Ok(started.elapsed().as_nanos() as f64 / ARRIVALS as f64)
}
