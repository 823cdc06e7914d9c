//! Pods and roles may do no more than they must.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{objects, of_kind, rendered_text, repository_root, text};

/// The requirements of the Pod Security Standard `restricted` that a Pod of ours could break.
#[test]
fn every_pod_keeps_to_the_restricted_pod_security_standard() {
    let objects = objects(&rendered_text(&[]));
    let deployments = of_kind(&objects, "Deployment");
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert!(
            pod["securityContext"]["runAsUser"].as_u64().unwrap() > 0,
            "a kubelet cannot check a name"
        );
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            assert!(pod[forbidden].is_null(), "{forbidden}");
        }
        let volumes = pod["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(
            volumes.iter().all(|volume| !volume["configMap"].is_null()),
            "{volumes:?}"
        );
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
            assert!(context["capabilities"]["add"].is_null() && context["privileged"].is_null());
            for probe in ["livenessProbe", "readinessProbe"] {
                assert!(
                    container[probe]["httpGet"]["path"].is_string(),
                    "{probe} of {}",
                    container["name"]
                );
            }
            assert!(container["resources"]["requests"]["cpu"].is_string());
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
}

/// The kinds that each role may change; everything else it may at most read.
#[test]
fn each_role_may_write_only_what_it_must() {
    let objects = objects(&rendered_text(&[]));
    let roles = [of_kind(&objects, "ClusterRole"), of_kind(&objects, "Role")].concat();
    assert_eq!(roles.len(), 5);
    let mut writes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for role in roles {
        let may = writes.entry(text(role, "/metadata/name")).or_default();
        for rule in role["rules"].as_array().unwrap() {
            for list in ["apiGroups", "resources", "verbs"] {
                let words = rule[list].as_array().unwrap();
                assert!(
                    !words.is_empty() && words.iter().all(|word| !word.as_str().unwrap().contains('*')),
                    "{rule}"
                );
            }
            let writing = |verb: &&Value| !["get", "list", "watch"].contains(&verb.as_str().unwrap());
            let verbs: Vec<&str> = rule["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .filter(writing)
                .map(|verb| verb.as_str().unwrap())
                .collect();
            for resource in rule["resources"].as_array().unwrap() {
                assert_ne!(resource, "secrets");
                if !verbs.is_empty() {
                    let group = rule["apiGroups"][0].as_str().unwrap();
                    may.push(format!(
                        "{group}/{}: {}",
                        resource.as_str().unwrap(),
                        verbs.join(" ")
                    ));
                }
            }
        }
        may.sort();
    }
    let lines = writes.iter().flat_map(|(role, may)| {
        std::iter::once((*role).to_owned()).chain(may.iter().map(|one| format!("  {one}")))
    });
    insta::assert_snapshot!(lines.map(|line| line + "\n").collect::<String>());
}

#[test]
fn each_rule_of_a_role_says_why_it_is_there() {
    for component in ["controller", "gateway", "users"] {
        let file = repository_root().join(format!("charts/harmonybatch/templates/{component}/rbac.yaml"));
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut rules = 0;
        for pair in lines
            .windows(2)
            .filter(|pair| pair[1].trim_start().starts_with("- apiGroups:"))
        {
            rules += 1;
            assert!(
                pair[0].trim_start().starts_with('#'),
                "{component}: no reason before {}",
                pair[1]
            );
        }
        assert!(rules > 0, "no rules in {}", file.display());
    }
}
