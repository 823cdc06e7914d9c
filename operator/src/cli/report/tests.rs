//! The page from hand-made data: what it says, where its bars stand, and that nothing a user wrote becomes markup.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use harmonybatch_planner::units::{BatchSize, GpuUnits, Headroom, Percentile, Rate, Seconds, Vcpu};
use harmonybatch_planner::{
    Alone, App, AppSimulation, ArrivalProcess, Baseline, BaselinePlan, Billing, CostChange, CpuLatency,
    Device, Dispatch, Explanation, Exponential, GroupPlan, GroupSimulation, InfeasibleApp, InfeasibleReason,
    LatencyRange, Member, ModelProfile, ModelSet, Plan, Predicted, WhatIf,
};
use html5ever::tendril::TendrilSink;
use markup5ever_rcdom::{Handle, NodeData, RcDom};

use super::{ModelReport, Named, Priced, Report, render};

/// Cost per second of 1.00 a month.
const ONE: f64 = 1.0 / (730.0 * 3600.0);

fn seconds(value: f64) -> Seconds {
    Seconds::new(value).unwrap()
}

fn member(app: &str, slo: f64, cost: f64) -> Member {
    Member {
        app: app.to_owned(),
        slo: seconds(slo),
        percentile: Percentile::new(99.0).unwrap(),
        rate: Rate::new(5.0).unwrap(),
        max_wait: seconds(slo * 0.6),
        latency_bound: seconds(slo * 0.9),
        simulated: None,
        cost_per_second: cost * ONE,
        cost_per_request: cost * ONE / 5.0,
        explanation: Explanation {
            shares_with: Vec::new(),
            others: 0,
            isolated: false,
            alone: Alone {
                device: Device::Cpu {
                    vcpu: Vcpu::from_millis(1650).unwrap(),
                },
                replicas: 1,
                batch_size: BatchSize::ONE,
                cost_per_second: 2.0 * cost * ONE,
                cost_per_request: 2.0 * cost * ONE / 5.0,
            },
            runner_up: None,
            saving: 0.5,
        },
    }
}

fn group(device: Device, members: Vec<Member>) -> GroupPlan {
    let cost_per_second = members.iter().map(|member| member.cost_per_second).sum();
    GroupPlan {
        device,
        batch_size: BatchSize::new(8).unwrap(),
        dispatch: Dispatch::Eager,
        replicas: 2,
        predicted: Predicted {
            cost_per_second,
            cost_per_request: cost_per_second / 10.0,
            mean_batch: 3.0,
            utilization: 0.5,
            mean_service: seconds(0.1),
            max_service: seconds(0.2),
        },
        members,
        verified: true,
    }
}

/// Two groups and an application that nothing serves; every name is what the caller makes of it.
fn named(billing: Billing, name: &dyn Fn(&str) -> String) -> Named {
    let cpu = Device::Cpu {
        vcpu: Vcpu::from_millis(1650).unwrap(),
    };
    let gpu = Device::Gpu {
        pool: name("a10"),
        units: GpuUnits::new(6).unwrap(),
    };
    let groups = vec![
        group(
            cpu,
            vec![member(&name("search"), 0.5, 3.0), member(&name("cart"), 1.0, 1.0)],
        ),
        group(gpu, vec![member(&name("feed"), 1.0, 6.0)]),
    ];
    let cost_per_second = groups.iter().map(|group| group.predicted.cost_per_second).sum();
    Named {
        plan: Plan {
            namespace: name("shop"),
            model: name("mlp"),
            billing,
            headroom: Headroom::NONE,
            groups,
            infeasible: vec![InfeasibleApp {
                app: name("tight"),
                reason: InfeasibleReason::NoDevice,
                nearest_slo: Some(seconds(0.035)),
                nearest_headroom: None,
            }],
            cost_per_second,
            least_cost_per_second: cost_per_second / 2.0,
        },
        names: vec![name("mlp-11111"), name("mlp-22222")],
        currency: name("USD"),
        baselines: Vec::new(),
    }
}

fn set(named: &Named) -> ModelSet {
    let curve = Exponential::new(0.1, 0.2, 0.01).unwrap();
    let cpu = CpuLatency {
        batch: BatchSize::ONE,
        mean: curve.into(),
        max: curve.into(),
    };
    let profile = ModelProfile::new(vec![cpu], Vec::new(), BatchSize::ONE).unwrap();
    let apps = named.plan.infeasible.iter().map(|tight| App {
        name: tight.app.clone(),
        slo: seconds(0.005),
        percentile: Percentile::new(99.0).unwrap(),
        rate: Rate::new(1.0).unwrap(),
        isolated: false,
        arrivals: ArrivalProcess::Poisson,
    });
    let plan = &named.plan;
    ModelSet::new(&plan.namespace, &plan.model, profile, apps.collect()).unwrap()
}

/// All requests between 0.2 and 0.4 SLOs, but one in fifty at 1.1.
fn simulated(plan: &Plan) -> Vec<Option<GroupSimulation>> {
    let range = |slo: f64, from: f64, to: f64, share| LatencyRange {
        from: seconds(slo * from),
        to: seconds(slo * to),
        share,
    };
    let app = |member: &Member| {
        let slo = member.slo.get();
        AppSimulation {
            app: member.app.clone(),
            requests: 1000,
            attainment: 0.98,
            kept: false,
            mean: seconds(slo * 0.3),
            p50: seconds(slo * 0.3),
            p90: seconds(slo * 0.4),
            p99: seconds(slo * 1.1),
            max: seconds(slo * 1.1),
            distribution: vec![range(slo, 0.2, 0.4, 0.98), range(slo, 1.1, 1.1, 0.02)],
        }
    };
    let groups = plan.groups.iter().map(|group| {
        Some(GroupSimulation {
            apps: group.members.iter().map(app).collect(),
            seconds: 100.0,
            batches: vec![10],
            utilization: 0.5,
            cpu_seconds: None,
            cost_per_second: group.predicted.cost_per_second,
        })
    });
    groups.collect()
}

fn report<'a>(named: &'a Named, set: &'a ModelSet) -> Report<'a> {
    let price = |factor: f64, more: Option<f64>| WhatIf {
        factor,
        value: seconds(0.5 * factor),
        change: more.map(|more| CostChange {
            plan_per_second: (10.0 + more) * ONE,
            difference_per_second: more * ONE,
            app_per_second: 3.0 * ONE,
        }),
    };
    let first = named.plan.groups.first().and_then(|group| group.members.first());
    let simulated = match named.plan.billing {
        Billing::PerReplica => simulated(&named.plan),
        Billing::PerInvocation => Vec::new(),
    };
    Report {
        command: "harmonybatch plan -f apps/ --report plan.html".to_owned(),
        limited: &[],
        models: vec![ModelReport {
            named,
            set,
            simulated,
            priced: first
                .map(|member| Priced {
                    app: &member.app,
                    slo: member.slo,
                    prices: vec![price(0.8, None), price(1.25, Some(-1.0)), price(1.5, Some(-2.5))],
                })
                .into_iter()
                .collect(),
            baselines: Some(vec![
                BaselinePlan {
                    baseline: Baseline::Alone,
                    groups: 3,
                    cost_per_second: 20.0 * ONE,
                    late: 0,
                    unserved: 0,
                    functions: Vec::new(),
                },
                BaselinePlan {
                    baseline: Baseline::Batch,
                    groups: 0,
                    cost_per_second: 0.0,
                    late: 0,
                    unserved: 3,
                    functions: Vec::new(),
                },
            ]),
        }],
    }
}

fn page(billing: Billing, name: &dyn Fn(&str) -> String) -> String {
    let named = named(billing, name);
    render(&report(&named, &set(&named)))
}

fn as_it_is(name: &str) -> String {
    name.to_owned()
}

/// What a browser makes of the page; it has to find nothing to mend.
fn parsed(page: &str) -> RcDom {
    let dom = html5ever::parse_document(RcDom::default(), html5ever::ParseOpts::default()).one(page);
    assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors.borrow());
    dom
}

/// Calls `visit` with every node, in the order of the page.
fn walk(node: &Handle, visit: &mut dyn FnMut(&Handle)) {
    visit(node);
    for child in node.children.borrow().iter() {
        walk(child, visit);
    }
}

/// The elements of a name, each as its attributes.
fn elements(dom: &RcDom, wanted: &str) -> Vec<Vec<(String, String)>> {
    let mut found = Vec::new();
    walk(&dom.document, &mut |node| {
        if let NodeData::Element { name, attrs, .. } = &node.data
            && &*name.local == wanted
        {
            let attributes = attrs.borrow();
            let attributes = attributes.iter();
            found.push(
                attributes
                    .map(|attribute| (attribute.name.local.to_string(), attribute.value.to_string()))
                    .collect(),
            );
        }
    });
    found
}

fn value<'a>(attributes: &'a [(String, String)], name: &str) -> &'a str {
    let found = attributes.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value)
}

/// What the page says, a line for each piece of text; style and script are not said.
fn said(dom: &RcDom) -> String {
    let mut lines = Vec::new();
    walk(&dom.document, &mut |node| {
        if let NodeData::Text { contents } = &node.data {
            let text = contents.borrow().trim().to_owned();
            if !text.is_empty() && !text.contains('{') {
                lines.push(text);
            }
        }
    });
    lines.join("\n")
}

#[test]
fn the_page_says_everything_in_its_order() {
    insta::assert_snapshot!(
        "per_replica",
        said(&parsed(&page(Billing::PerReplica, &as_it_is)))
    );
}

#[test]
fn where_functions_are_billed_while_they_run_bounds_stand_in_for_a_simulation() {
    let said = said(&parsed(&page(Billing::PerInvocation, &as_it_is)));
    // Waits are 0.6 and runs 0.3 SLOs in the fixture.
    assert!(
        said.contains("search: waits at most 300ms, then runs at most 150ms; SLO 500ms"),
        "{said}"
    );
    assert!(
        said.contains("all within bounds") && !said.contains("Simulated"),
        "{said}"
    );
}

#[test]
fn what_users_wrote_is_text_wherever_it_stands() {
    let hostile = |name: &str| {
        format!("</title></style></svg></script><script>alert(1)</script>\"'&{name}<b onload=x>")
    };
    for billing in [Billing::PerReplica, Billing::PerInvocation] {
        let dom = parsed(&page(billing, &hostile));
        assert_eq!(elements(&dom, "script").len(), 1);
        // As many as an honest page has.
        let honest = parsed(&page(billing, &as_it_is));
        for element in ["b", "style", "svg", "title", "th"] {
            assert_eq!(
                elements(&dom, element).len(),
                elements(&honest, element).len(),
                "{element}"
            );
        }
        assert!(said(&dom).contains(&hostile("search")));
    }
}

#[test]
fn nothing_is_fetched_and_every_link_leads_somewhere() {
    let page = page(Billing::PerReplica, &as_it_is);
    assert!(!page.contains("://") && !page.contains("url(") && !page.contains("@import"));
    let dom = parsed(&page);
    let (mut links, mut targets) = (Vec::new(), Vec::new());
    walk(&dom.document, &mut |node| {
        if let NodeData::Element { attrs, .. } = &node.data {
            for attribute in attrs.borrow().iter() {
                match &*attribute.name.local {
                    "href" => links.push(attribute.value.to_string()),
                    "id" => targets.push(attribute.value.to_string()),
                    "src" | "srcset" | "data" => panic!("{}", attribute.value),
                    _ => {}
                }
            }
        }
    });
    assert!(
        links.iter().all(|link| targets.contains(&link.replace('#', ""))),
        "{links:?} {targets:?}"
    );
}

#[test]
fn every_drawing_has_a_title() {
    let dom = parsed(&page(Billing::PerReplica, &as_it_is));
    walk(&dom.document, &mut |node| {
        if let NodeData::Element { name, attrs, .. } = &node.data
            && &*name.local == "svg"
            && value(
                &attrs
                    .borrow()
                    .iter()
                    .map(|it| (it.name.local.to_string(), it.value.to_string()))
                    .collect::<Vec<_>>(),
                "role",
            ) == "img"
        {
            let children = node.children.borrow();
            let title = children.iter().find_map(|child| match &child.data {
                NodeData::Element { name, .. } if &*name.local == "title" => Some(child.clone()),
                _ => None,
            });
            assert!(title.is_some_and(|title| !title.children.borrow().is_empty()));
        }
    });
}

#[test]
fn a_groups_bar_reaches_from_its_tightest_to_its_loosest_slo() {
    let dom = parsed(&page(Billing::PerReplica, &as_it_is));
    // SLOs from 0.5 s to 1 s, and 1.3 times as much room on both sides: ln 1.3 / ln 3.38 and ln 2 / ln 3.38.
    let bars = elements(&dom, "rect");
    let bar = bars
        .iter()
        .find(|bar| value(bar, "class") == "bar span k0")
        .unwrap();
    assert_eq!((value(bar, "x"), value(bar, "width")), ("21.54%", "56.91%"));
    let marks: Vec<String> = elements(&dom, "circle")
        .iter()
        .filter(|circle| value(circle, "class").starts_with("mark"))
        .map(|circle| value(circle, "cx").to_owned())
        .collect();
    assert_eq!(marks, ["21.54%", "78.46%", "78.46%"]);
}

#[test]
fn costs_are_drawn_as_parts_of_the_dearest_alone() {
    let dom = parsed(&page(Billing::PerReplica, &as_it_is));
    let bars = elements(&dom, "rect");
    let widths = |class: &str| -> Vec<&str> {
        let thick = bars
            .iter()
            .filter(|bar| value(bar, "height") == "12" && value(bar, "x") == "0.00%");
        let of_class = thick.filter(|bar| value(bar, "class") == class);
        of_class.map(|bar| value(bar, "width")).collect()
    };
    // 6, 3 and 1 a month; alone twice that; 12 is the whole width. On the other planners' chart 20 is.
    assert_eq!(widths("bar alone"), ["100.00%", "50.00%", "16.67%"]);
    assert_eq!(widths("bar k1"), ["50.00%"]);
    assert_eq!(widths("bar k0"), ["25.00%", "8.33%"]);
    assert_eq!(widths("bar own"), ["50.00%"]);
    assert_eq!(widths("bar other"), ["100.00%"]);
}

#[test]
fn a_distribution_is_drawn_where_the_requests_are() {
    let dom = parsed(&page(Billing::PerReplica, &as_it_is));
    // 75 steps reach 1.25 SLOs: 0.2 to 0.4 are steps 12 to 24, 1.1 is where step 66 ends.
    let path = elements(&dom, "path").remove(0);
    let drawn = value(&path, "d");
    assert!(
        drawn.contains("H12V0.0H13V0.0") && drawn.contains("H24V100.0H25"),
        "{drawn}"
    );
    // A column of the bulk holds 0.98 / 12, the late ones 0.02: 24.5 parts in a hundred.
    assert!(drawn.contains("V75.5H66"), "{drawn}");
    assert!(said(&dom).contains("98% missed"));
}

#[test]
fn no_application_at_all_and_a_thousand_make_a_page_too() {
    let mut named = named(Billing::PerReplica, &as_it_is);
    let many: Vec<GroupPlan> = (0..250)
        .map(|index| {
            let slo = 0.1 + 0.01 * f64::from(index);
            let members = (0..4).map(|place| member(&format!("app-{index}-{place}"), slo, f64::from(index)));
            group(named.plan.groups[0].device.clone(), members.collect())
        })
        .collect();
    named.plan.infeasible.clear();
    named.plan.groups.clear();
    named.plan.cost_per_second = 0.0;
    let nobody = said(&parsed(&render(&report(&named, &set(&named)))));
    assert!(
        nobody.contains("No InferenceApp names it.") && nobody.contains("0.00"),
        "{nobody}"
    );

    named.names = (0..250).map(|index| format!("mlp-{index}")).collect();
    named.plan.groups = many;
    // Twice what any plan costs.
    named.plan.cost_per_second = 10.0 * ONE;
    let page = render(&report(&named, &set(&named)));
    let said = said(&parsed(&page));
    for part in [
        "60 dearest groups; the table has 190 more",
        "Drawn are the 40 dearest; the other",
        "the 40 with the least room",
        "999 applications that cost less",
        "this one is at most 100% above the cheapest",
    ] {
        assert!(said.replace('\n', " ").contains(part), "{part} is missing");
    }
    // A page of a thousand applications stays one that a browser opens at once.
    assert!(page.len() < 3_000_000, "{}", page.len());
}
