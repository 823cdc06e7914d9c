use std::time::Duration;

use super::*;

fn group(name: &str, plan_generation: i64, members: &[(&str, bool)]) -> Arc<GroupConfig> {
    let members = members.iter().map(|(app, departing)| {
        Arc::new(MemberConfig {
            app: (*app).into(),
            service_name: format!("{app}-infer").into(),
            slo: Duration::from_secs(1),
            timeout: Duration::from_secs(4),
            max_wait: Duration::ZERO,
            contract: None,
            departing: *departing,
        })
    });
    Arc::new(GroupConfig {
        key: Key::new("shop", name),
        plan_generation,
        batch_size: 8,
        members: members.collect(),
        model: "mlp".into(),
        runtime_model: "net".into(),
        wire: crate::protocol::Wire::Json,
        endpoints: Vec::new(),
        idempotent: true,
        wake: None,
    })
}

fn routes(groups: &[Arc<GroupConfig>]) -> Routes {
    let mut snapshot = Snapshot::default();
    for group in groups {
        snapshot.groups.insert(group.key.clone(), group.clone());
    }
    snapshot
        .planned
        .insert((Key::new("shop", "later"), "later-infer".into()));
    Routes::new(&snapshot, "cluster.local")
}

fn found(result: Result<&Target, RouteError>) -> Result<(String, String), RouteError> {
    result.map(|target| (target.group.key.name.to_string(), target.member.app.to_string()))
}

#[test]
fn the_highest_generation_has_an_application_and_of_equal_ones_that_which_plans_it() {
    let named = |group: &str| Ok((group.to_owned(), "a".to_owned()));
    let cases = [
        ([("x", 1, false), ("y", 2, false)], "y"),
        ([("x", 3, true), ("y", 2, false)], "x"),
        ([("x", 2, true), ("y", 2, false)], "y"),
        ([("x", 2, false), ("y", 2, true)], "x"),
        ([("x", 2, false), ("y", 2, false)], "x"),
    ];
    for (groups, winner) in cases {
        let groups = groups.map(|(name, generation, departing)| group(name, generation, &[("a", departing)]));
        assert_eq!(found(routes(&groups).by_app("shop", "a")), named(winner));
        assert_eq!(found(routes(&groups).by_host("a-infer.shop")), named(winner));
    }
}

#[test]
fn a_host_is_a_service_of_this_cluster() {
    let routes = routes(&[group("x", 1, &[("a", false)])]);
    let good = [
        "a-infer.shop",
        "a-infer.shop.",
        "a-infer.shop:80",
        "a-infer.shop.svc",
        "a-infer.shop.svc.:8080",
        "A-INFER.Shop.SVC.cluster.LOCAL",
        "a-infer.shop.svc.cluster.local.",
    ];
    for host in good {
        assert!(routes.by_host(host).is_ok(), "{host}");
    }
    let bad = [
        "a-infer.shop.svc.cluster",
        "a-infer.shop.cluster.local",
        "a-infer.shop.svcx",
        "a-infer.shop.svccluster.local",
        ".shop",
        "a-infer..",
        "a-infer.shop.svc..",
    ];
    for host in bad {
        assert!(
            matches!(routes.by_host(host), Err(RouteError::UnknownHost { .. })),
            "{host}"
        );
    }
    for host in ["a-infer", "a-infer:80", "localhost", "", "a-infer."] {
        assert!(
            matches!(routes.by_host(host), Err(RouteError::NoNamespace { .. })),
            "{host}"
        );
    }
    assert!(matches!(
        routes.by_host("a.shop"),
        Err(RouteError::UnknownService { .. })
    ));
    assert!(matches!(
        routes.by_host("later-infer.shop"),
        Err(RouteError::NotReady { .. })
    ));
    assert!(matches!(
        routes.by_app("shop", "later"),
        Err(RouteError::NotReady { .. })
    ));
    assert!(matches!(
        routes.by_app("other", "a"),
        Err(RouteError::UnknownApp { .. })
    ));
}
