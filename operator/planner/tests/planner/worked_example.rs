//! The example that the design works out by hand: VGG-19, the paper's prices, three applications.

use harmonybatch_planner::{App, Billing, Device, Dispatch};

use crate::fixture::{GPU_UNIT_SECOND, VGG19, app, membership, plan_as_the_paper, plan_one};

fn apps() -> Vec<App> {
    vec![
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("feed", 1.0, 20.0),
    ]
}

/// Digits as they are published: five significant.
fn assert_published(found: f64, published: f64) {
    const FIVE_DIGITS: f64 = 5e-5;
    assert!(
        (found / published - 1.0).abs() < FIVE_DIGITS,
        "{found:e} is not {published:e}"
    );
}

#[test]
fn one_gpu_group_serves_all_three_where_a_function_costs_while_it_runs() {
    let plan = plan_as_the_paper(&VGG19, apps());
    assert_eq!(membership(&plan), [["search", "cart", "feed"]]);
    let group = &plan.groups[0];
    assert!(
        matches!(&group.device, Device::Gpu { pool, .. } if pool == "a10"),
        "{}",
        group.device
    );
    assert_eq!(group.batch_size.get(), 22);
    assert_eq!(group.dispatch, Dispatch::Timed);
    assert_published(plan.cost_per_second, 2.2583e-5);
    for member in &group.members {
        let bound = member.max_wait.get() + group.predicted.max_service.get();
        assert!(
            (bound - member.slo.get()).abs() < 1e-9,
            "{} waits as long as it can",
            member.app
        );
    }
}

#[test]
fn one_group_per_application_costs_more() {
    let alone: f64 = apps()
        .into_iter()
        .map(|one| plan_as_the_paper(&VGG19, vec![one]).cost_per_second)
        .sum();
    assert_published(alone, 2.4655e-5);
    let plan = plan_as_the_paper(&VGG19, apps());
    let explained: f64 = plan.groups[0]
        .members
        .iter()
        .map(|member| member.explanation.alone.cost_per_second)
        .sum();
    assert_published(explained, 2.4655e-5);
}

#[test]
fn pods_that_stay_up_need_a_plan_of_their_own() {
    let plan = plan_one(Billing::PerReplica, &VGG19, apps());
    assert_eq!(membership(&plan), [["search", "cart", "feed"]]);
    let group = &plan.groups[0];
    assert_eq!(group.device.to_string(), "2 units of a10");
    assert_eq!(
        (
            group.replicas,
            group.batch_size.get(),
            group.dispatch,
            group.verified
        ),
        (1, 8, Dispatch::Eager, true)
    );
    assert_published(plan.cost_per_second, 3.0e-5);

    // Keeping the first plan's function up instead.
    let first = plan_as_the_paper(&VGG19, apps());
    let Device::Gpu { units, .. } = first.groups[0].device else {
        panic!("the first plan is on a GPU")
    };
    assert_eq!(units.get(), 23);
    assert_published(f64::from(units.get()) * GPU_UNIT_SECOND, 3.45e-4);
}
