//! Who is who in the cluster: certificates and kubeconfigs of every component.

use anyhow::{Context, Result};
use serde_json::json;

use super::layout::{API_SERVICE_ADDRESS, CLUSTER_DOMAIN, Layout, NODE_ADDRESS, NODE_NAME};
use crate::certificates::{self, Authority, Subject};

/// Clients with a kubeconfig: its name, the user and the group that Kubernetes' own roles are bound to.
const CLIENTS: [(&str, &str, Option<&str>); 5] = [
    ("admin", "harmonybatch-admin", Some("system:masters")),
    ("kube-controller-manager", "system:kube-controller-manager", None),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kube-proxy", "system:kube-proxy", None),
    ("kubelet", "system:node:harmonybatch", Some("system:nodes")),
];

/// Makes all of them anew.
pub(super) fn write(layout: &Layout) -> Result<()> {
    let certificates = layout.folder("certificates");
    for folder in [&certificates, &layout.folder("kubeconfigs")] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let authority = Authority::new(&certificates, "ca")?;
    authority.server(
        "kube-apiserver",
        Subject {
            common_name: "kube-apiserver",
            organization: None,
        },
        &apiserver_names(),
    )?;
    authority.server(
        "kubelet-server",
        Subject {
            common_name: NODE_NAME,
            organization: None,
        },
        &[NODE_NAME, NODE_ADDRESS],
    )?;
    authority.client(
        "kubelet-client",
        Subject {
            common_name: "kube-apiserver-kubelet-client",
            organization: Some("system:masters"),
        },
    )?;
    for (client, common_name, organization) in CLIENTS {
        authority.client(
            client,
            Subject {
                common_name,
                organization,
            },
        )?;
        certificates::write_private(&layout.kubeconfig(client), &kubeconfig(layout, client))?;
    }
    let front_proxy = Authority::new(&certificates, "front-proxy-ca")?;
    front_proxy.client(
        "front-proxy-client",
        Subject {
            common_name: "front-proxy-client",
            organization: None,
        },
    )?;
    certificates::token_key(&certificates, "service-account")
}

/// Every name and address under which somebody reaches the API server.
fn apiserver_names() -> [&'static str; 8] {
    const FULL: &str = "kubernetes.default.svc.cluster.local";
    debug_assert!(FULL.ends_with(CLUSTER_DOMAIN), "the cluster's domain has changed");
    [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        FULL,
        "localhost",
        "127.0.0.1",
        API_SERVICE_ADDRESS,
        NODE_ADDRESS,
    ]
}

fn kubeconfig(layout: &Layout, client: &str) -> String {
    let file = |name: String| layout.certificate(&name);
    let value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "harmonybatch",
            "cluster": { "server": format!("https://{NODE_ADDRESS}:6443"), "certificate-authority": file("ca.crt".to_owned()) },
        }],
        "users": [{
            "name": client,
            "user": { "client-certificate": file(format!("{client}.crt")), "client-key": file(format!("{client}.key")) },
        }],
        "contexts": [{ "name": "harmonybatch", "context": { "cluster": "harmonybatch", "user": client } }],
        "current-context": "harmonybatch",
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_speaks_for_its_node() {
        let kubelet = CLIENTS
            .iter()
            .find(|client| client.0 == "kubelet")
            .expect("a kubelet");
        assert_eq!(kubelet.1, format!("system:node:{NODE_NAME}"));
    }

    #[test]
    fn every_client_has_a_certificate_that_only_its_owner_may_read() {
        use std::os::unix::fs::PermissionsExt as _;

        let root = std::env::temp_dir().join(format!("harmonybatch-identity-{}", std::process::id()));
        let layout = Layout::at(&root);
        write(&layout).expect("written");
        for (client, ..) in CLIENTS {
            let text = std::fs::read_to_string(layout.kubeconfig(client)).expect("a kubeconfig");
            let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let key = parsed["users"][0]["user"]["client-key"].as_str().expect("a key");
            let mode = std::fs::metadata(key)
                .expect("the key's file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        std::fs::remove_dir_all(&root).expect("removed");
    }
}
