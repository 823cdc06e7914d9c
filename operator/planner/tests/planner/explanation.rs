//! `explain` and the fair split, against prices found by looking at every configuration and every partition.

use harmonybatch_planner::units::{BatchSize, Bytes, Seconds};
use harmonybatch_planner::{
    App, AppExplanation, ArrivalModel, Billing, Constraint, ExplainError, GpuLatency, InfeasibleReason,
    Memory, ModelProfile, ModelSet, PlanRequest, Platform, ServedExplanation, Session, Verdict, explain,
    plan,
};

use crate::evaluator::{ROUNDING, assert_close, cheapest};
use crate::fixture::{
    BERT, Coefficients, MODELS, VGG19, a10, app, plan_as_the_paper, plan_one, prices, request, seconds,
};
use crate::random::Random;

fn explained(billing: Billing, model: &Coefficients, apps: &[App], name: &str) -> AppExplanation {
    // Under the paper's law, as the prices that it is compared with.
    let PlanRequest { platform, models } = request(billing, model, apps.to_vec());
    let platform = platform.with_arrivals(ArrivalModel::Paper);
    explain(&PlanRequest { platform, models }, "shop", model.name, name).unwrap()
}

fn served(explanation: &AppExplanation) -> &ServedExplanation {
    match &explanation.verdict {
        Verdict::Served(served) => served,
        Verdict::Infeasible(infeasible) => panic!("{infeasible:?}"),
    }
}

fn example() -> Vec<App> {
    vec![
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("feed", 1.0, 20.0),
    ]
}

/// The least cost of the applications that can be served at all, over every partition: each application joins each part
/// of every partition of those before it, or founds a new one.
fn best_partition(model: &Coefficients, apps: &[App]) -> f64 {
    fn extend<'a>(apps: &'a [App], parts: &mut Vec<Vec<&'a App>>, cost: &impl Fn(&[&App]) -> f64) -> f64 {
        let Some((app, rest)) = apps.split_first() else {
            return parts.iter().map(|part| cost(part)).sum();
        };
        let mut best = f64::INFINITY;
        for index in 0..=parts.len() {
            if index == parts.len() {
                parts.push(vec![app]);
            } else {
                parts[index].push(app);
            }
            best = best.min(extend(rest, parts, cost));
            parts[index].pop();
            if parts[index].is_empty() {
                parts.pop();
            }
        }
        best
    }
    let possible: Vec<App> = apps
        .iter()
        .filter(|&app| cheapest(model, &[app]).is_some())
        .cloned()
        .collect();
    extend(&possible, &mut Vec::new(), &|part| {
        cheapest(model, part).unwrap_or(f64::INFINITY)
    })
}

#[test]
fn the_price_of_every_other_slo_and_rate_is_that_of_the_best_partition() {
    for (model, apps) in [
        (&VGG19, example()),
        (
            &BERT,
            vec![app("a", 0.3, 2.0), app("b", 0.35, 7.0), app("c", 1.5, 0.4)],
        ),
    ] {
        for asked in &apps {
            let explanation = explained(Billing::PerInvocation, model, &apps, &asked.name);
            let served = served(&explanation);
            let now = best_partition(model, &apps);
            assert_close(explanation.plan.cost_per_second, now);
            let check = |factor: f64, change: Option<harmonybatch_planner::CostChange>, other: App| {
                let others = apps.iter().filter(|it| it.name != asked.name).cloned();
                let best = best_partition(model, &others.chain([other.clone()]).collect::<Vec<_>>());
                match change {
                    Some(change) => {
                        assert_close(change.plan_per_second, best);
                        assert!(
                            (change.difference_per_second - (best - now)).abs() <= now * ROUNDING,
                            "{} at {factor}: {change:?}",
                            asked.name
                        );
                    }
                    None => assert!(cheapest(model, &[&other]).is_none()),
                }
            };
            assert_eq!(served.slo_prices.len(), 3);
            for price in &served.slo_prices {
                assert_close(price.value.get(), asked.slo.get() * price.factor);
                check(
                    price.factor,
                    price.change,
                    App {
                        slo: price.value,
                        ..asked.clone()
                    },
                );
            }
            for price in &served.rate_prices {
                check(
                    price.factor,
                    price.change,
                    App {
                        rate: price.value,
                        ..asked.clone()
                    },
                );
            }
        }
    }
}

#[test]
fn the_slo_prices_alone_are_those_of_the_whole_explanation() {
    let request = request(Billing::PerReplica, &VGG19, example());
    let session = Session::new();
    let plans = plan(&request).unwrap();
    for asked in example() {
        let whole = explain(&request, "shop", "vgg19", &asked.name).unwrap();
        let alone = session
            .slo_prices(&request, &plans, "shop", "vgg19", &asked.name)
            .unwrap();
        assert_eq!(alone, served(&whole).slo_prices);
        assert!(alone.iter().all(|price| price.change.is_some()), "{alone:?}");
    }
    assert!(
        session
            .slo_prices(&request, &plans, "shop", "vgg19", "serach")
            .is_err()
    );
    assert!(
        session
            .slo_prices(&request, &[], "shop", "vgg19", "search")
            .is_err()
    );
}

#[test]
fn an_slo_that_no_function_keeps_has_no_price() {
    // 1.1 times the fastest: at 0.8 times that nothing keeps it.
    let tight = plan_one(Billing::PerInvocation, &VGG19, vec![app("one", 0.001, 1.0)]);
    let fastest = tight.infeasible[0].nearest_slo.unwrap().get();
    let explanation = explained(
        Billing::PerInvocation,
        &VGG19,
        &[app("one", fastest * 1.1, 1.0)],
        "one",
    );
    let prices = &served(&explanation).slo_prices;
    assert!(prices[0].change.is_none(), "{prices:?}");
    assert!(
        prices[1]
            .change
            .is_some_and(|change| change.difference_per_second <= 0.0)
    );
}

#[test]
fn the_slo_of_the_tightest_member_binds_the_whole_group_and_says_whose_it_is() {
    let apps = example();
    let plan = plan_one(Billing::PerInvocation, &VGG19, apps.clone());
    assert_eq!(plan.groups.len(), 1);
    let feed = explained(Billing::PerInvocation, &VGG19, &apps, "feed");
    let others: Vec<&Constraint> = served(&feed)
        .relaxations
        .iter()
        .map(|it| &it.constraint)
        .collect();
    let tightest = Constraint::SloOf {
        app: "search".into(),
        slo: seconds(0.5),
    };
    assert!(others.contains(&&tightest), "{others:?}");
    // What relaxing it saves is a matter of the best partition again.
    let mut longer = apps.clone();
    longer[0].slo = seconds(0.75);
    let saving = best_partition(&VGG19, &apps) - best_partition(&VGG19, &longer);
    let found = served(&feed)
        .relaxations
        .iter()
        .find(|it| it.constraint == tightest)
        .unwrap();
    assert!(
        (found.saving_per_second - saving.max(0.0)).abs() <= 1e-6 * saving.abs().max(1e-12),
        "{found:?}, not {saving:e}"
    );
    let binds = served(&feed).binds().unwrap();
    assert!(
        served(&feed)
            .relaxations
            .iter()
            .all(|it| it.saving_per_second <= binds.saving_per_second)
    );
}

/// A model on the A10 only, whose rows need memory.
fn with_memory(per_row: u64, slo: f64, rate: f64) -> PlanRequest {
    let memory = Memory {
        base: Bytes(1 << 29),
        per_row: Bytes(per_row),
    };
    let gpu = GpuLatency::new("a10", VGG19.per_row, VGG19.fixed, memory).unwrap();
    let profile = ModelProfile::new(vec![], vec![gpu], BatchSize::new(32).unwrap()).unwrap();
    let platform = Platform::new(Billing::PerInvocation, prices(), Seconds::ZERO, None, vec![a10()]).unwrap();
    PlanRequest {
        platform,
        models: vec![ModelSet::new("shop", "vgg19", profile, vec![app("one", slo, rate)]).unwrap()],
    }
}

#[test]
fn memory_binds_where_batches_could_be_larger_but_for_it() {
    // A device has 24 GiB: rows of 2 GiB leave room for 11 of 32. A minute is time enough for any batch.
    let found = explain(&with_memory(1 << 31, 60.0, 10.0), "shop", "vgg19", "one").unwrap();
    assert_eq!(found.plan.groups[0].batch_size.get(), 11);
    let binds = served(&found).binds().unwrap();
    assert_eq!(binds.constraint, Constraint::DeviceMemory);
    // Two thirds of the memory, 341 MiB and 1365 MiB a row, leave room for 17; the cost of a request with a full batch of
    // b is (24 K2 (xi1 b + xi2) + K3) / b, whatever the share.
    let per_request = |b: f64| {
        (24.0 * crate::fixture::GPU_UNIT_SECOND * (VGG19.per_row * b + VGG19.fixed) + crate::fixture::REQUEST)
            / b
    };
    let expected = 10.0 * (per_request(11.0) - per_request(17.0));
    assert!(
        (binds.saving_per_second / expected - 1.0).abs() < 1e-6,
        "{binds:?}, not {expected:e}"
    );
}

#[test]
fn where_no_promise_binds_it_is_the_load() {
    let found = explain(&with_memory(0, 60.0, 10.0), "shop", "vgg19", "one").unwrap();
    let binds = served(&found).binds().unwrap();
    assert_eq!(binds.constraint, Constraint::Capacity);
    // The same batches of 32, a third fewer of them.
    assert_close(binds.saving_per_second, found.plan.cost_per_second / 3.0);
}

#[test]
fn the_percentile_is_a_constraint_where_batches_queue() {
    let explanation = explained(
        Billing::PerReplica,
        &VGG19,
        &[app("search", 0.5, 5.0), app("cart", 0.8, 10.0)],
        "search",
    );
    let served = served(&explanation);
    let names: Vec<&Constraint> = served.relaxations.iter().map(|it| &it.constraint).collect();
    assert!(names.contains(&&Constraint::Percentile), "{names:?}");
    assert!(names.contains(&&Constraint::Slo), "{names:?}");
    // A price is a number of whole replicas of some sizes: the plan of the changed set says which.
    for price in &served.slo_prices {
        let apps = vec![
            App {
                slo: price.value,
                ..app("search", 0.5, 5.0)
            },
            app("cart", 0.8, 10.0),
        ];
        let cost = plan_one(Billing::PerReplica, &VGG19, apps).cost_per_second;
        let change = price.change.unwrap();
        let expected = if price.factor > 1.0 {
            cost.min(explanation.plan.cost_per_second)
        } else {
            cost
        };
        assert_close(change.plan_per_second, expected);
    }
}

#[test]
fn an_infeasible_application_is_told_the_nearest_slo() {
    let apps = [app("tight", 0.001, 1.0), app("fine", 1.0, 1.0)];
    let explanation = explained(Billing::PerInvocation, &VGG19, &apps, "tight");
    let Verdict::Infeasible(infeasible) = &explanation.verdict else {
        panic!("{explanation:?}");
    };
    let nearest = infeasible.app.nearest_slo.unwrap();
    assert_eq!(infeasible.nearest_rate, None);
    let slower = App {
        slo: nearest,
        ..apps[0].clone()
    };
    assert!(cheapest(&VGG19, &[&slower]).is_some());
}

/// `cargo test --release -p harmonybatch-planner -- --ignored the_nearest_rate`
#[test]
#[ignore = "simulates ten thousand replicas several times: some 10 s in release"]
fn the_nearest_rate_is_served_and_one_percent_more_is_not() {
    let fast = |rate| vec![app("fast", 0.5, rate)];
    let explanation = explained(Billing::PerReplica, &VGG19, &fast(5e7), "fast");
    let Verdict::Infeasible(infeasible) = &explanation.verdict else {
        panic!("{explanation:?}");
    };
    let is_rate = matches!(infeasible.app.reason, InfeasibleReason::RateTooHigh { .. });
    assert!(is_rate, "{infeasible:?}");
    let nearest = infeasible.nearest_rate.unwrap().get();
    assert!(
        plan_one(Billing::PerReplica, &VGG19, fast(nearest))
            .infeasible
            .is_empty()
    );
    assert!(
        !plan_one(Billing::PerReplica, &VGG19, fast(nearest * 1.01))
            .infeasible
            .is_empty()
    );
}

#[test]
fn a_question_about_nothing_is_answered_by_its_name() {
    let request = request(Billing::PerInvocation, &VGG19, example());
    assert_eq!(
        explain(&request, "shop", "vgg19", "serach"),
        Err(ExplainError::UnknownApp {
            namespace: "shop".into(),
            model: "vgg19".into(),
            app: "serach".into()
        })
    );
    assert!(explain(&request, "shop", "bert", "search").is_err());
    assert!(explain(&request, "stop", "vgg19", "search").is_err());
}

#[test]
fn a_groups_cost_is_split_in_proportion_to_what_each_would_cost_alone() {
    let mut random = Random::seeded(11);
    let mut shared = 0;
    for set in 0..40 {
        let model = &MODELS[set % 4];
        let apps = random.apps(6, (0.3, 5.0), (0.05, 50.0));
        for group in plan_as_the_paper(model, apps.clone()).groups {
            let alone = |name: &str| {
                let one = apps.iter().find(|app| app.name == name).unwrap();
                cheapest(model, &[one]).unwrap()
            };
            let all: f64 = group.members.iter().map(|member| alone(&member.app)).sum();
            for member in &group.members {
                let fair = group.predicted.cost_per_second * alone(&member.app) / all;
                assert_close(member.cost_per_second, fair);
                assert!(member.cost_per_second <= alone(&member.app) * (1.0 + ROUNDING));
                assert_close(member.cost_per_request, fair / member.rate.get());
            }
            let parts: f64 = group.members.iter().map(|member| member.cost_per_second).sum();
            assert_close(parts, group.predicted.cost_per_second);
            shared += usize::from(group.members.len() > 1);
        }
    }
    assert!(shared >= 20, "{shared} groups shared");
}
