//! The components: which program with which flags. PID 1 of the node starts them from this list and knows nothing else about them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::{Layout, NODE_ADDRESS, NODE_NAME, POD_RANGE, SERVICE_RANGE};
use crate::knative;
use crate::parts::{self, Parts};
use crate::requirements;

/// One process of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Component {
    /// As people call it.
    pub(super) name: String,
    /// The program's path.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Where its output goes.
    pub(super) log: PathBuf,
}

/// Names of the components, in the order in which they start.
pub const NAMES: [&str; 7] = [
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
];

/// Every component of [`NAMES`].
pub(super) fn components(layout: &Layout, parts: &Parts) -> Vec<Component> {
    let component = |name: &str, program: PathBuf, arguments: Vec<String>| Component {
        name: name.to_owned(),
        program,
        arguments,
        log: layout.log(name),
    };
    let kubernetes =
        |name: &str, arguments| component(name, parts.program(&parts::KUBERNETES, name), arguments);
    let containerd = requirements::find("containerd").unwrap_or_else(|| PathBuf::from("/usr/bin/containerd"));
    vec![
        component(
            "containerd",
            containerd,
            vec![flag("config", &layout.configuration("containerd.toml"))],
        ),
        component("etcd", parts.program(&parts::ETCD, "etcd"), etcd(layout)),
        kubernetes("kube-apiserver", apiserver(layout)),
        kubernetes("kube-controller-manager", controller_manager(layout)),
        kubernetes("kube-scheduler", scheduler(layout)),
        kubernetes("kubelet", kubelet(layout)),
        kubernetes(
            "kube-proxy",
            vec![flag("config", &layout.configuration("kube-proxy.json"))],
        ),
        // Started only where somebody wants Knative. The program is the harness itself.
        component(knative::COMPONENT, layout.harness(), knative_stand_in(layout)),
    ]
}

fn knative_stand_in(layout: &Layout) -> Vec<String> {
    let webhook = format!("--webhook={NODE_ADDRESS}:{}", knative::WEBHOOK_PORT);
    vec![
        "knative-stand-in".to_owned(),
        flag("kubeconfig", &layout.admin_kubeconfig()),
        webhook,
    ]
}

fn flag(name: &str, file: &Path) -> String {
    format!("--{name}={}", file.display())
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}

/// Listens inside the node's network namespace only. A cluster that lives for tests need not survive a power cut: no fsync.
fn etcd(layout: &Layout) -> Vec<String> {
    let mut arguments = owned(&[
        "--name=harmonybatch",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=harmonybatch=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
    ]);
    arguments.push(flag("data-dir", &layout.folder("etcd")));
    arguments
}

fn apiserver(layout: &Layout) -> Vec<String> {
    let mut arguments = owned(&[
        "--etcd-servers=http://127.0.0.1:2379",
        "--secure-port=6443",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ]);
    arguments.push(format!("--bind-address={NODE_ADDRESS}"));
    arguments.push(format!("--advertise-address={NODE_ADDRESS}"));
    arguments.push(format!("--service-cluster-ip-range={SERVICE_RANGE}"));
    let files = [
        ("client-ca-file", "ca.crt"),
        ("tls-cert-file", "kube-apiserver.crt"),
        ("tls-private-key-file", "kube-apiserver.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
        ("service-account-key-file", "service-account.pub"),
        ("service-account-signing-key-file", "service-account.key"),
        ("requestheader-client-ca-file", "front-proxy-ca.crt"),
        ("proxy-client-cert-file", "front-proxy-client.crt"),
        ("proxy-client-key-file", "front-proxy-client.key"),
    ];
    arguments.extend(files.map(|(name, file)| flag(name, &layout.certificate(file))));
    arguments
}

/// Flags of a component that talks to the API server under its own name and serves metrics to the node only.
fn as_client(layout: &Layout, name: &str) -> Vec<String> {
    let kubeconfig = layout.kubeconfig(name);
    let mut arguments = owned(&["--bind-address=127.0.0.1", "--leader-elect=false"]);
    arguments.extend(
        [
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
        ]
        .map(|name| flag(name, &kubeconfig)),
    );
    arguments
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    let mut arguments = as_client(layout, "kube-controller-manager");
    arguments.extend(owned(&[
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=false",
    ]));
    arguments.push(format!("--cluster-cidr={POD_RANGE}"));
    arguments.push(format!("--service-cluster-ip-range={SERVICE_RANGE}"));
    let files = [
        ("root-ca-file", "ca.crt"),
        ("cluster-signing-cert-file", "ca.crt"),
        ("cluster-signing-key-file", "ca.key"),
        ("service-account-private-key-file", "service-account.key"),
    ];
    arguments.extend(files.map(|(name, file)| flag(name, &layout.certificate(file))));
    arguments
}

fn scheduler(layout: &Layout) -> Vec<String> {
    as_client(layout, "kube-scheduler")
}

fn kubelet(layout: &Layout) -> Vec<String> {
    vec![
        flag("config", &layout.configuration("kubelet.json")),
        flag("kubeconfig", &layout.kubeconfig("kubelet")),
        flag("root-dir", &layout.folder("kubelet")),
        flag("cert-dir", &layout.folder("kubelet-certificates")),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={NODE_ADDRESS}"),
    ]
}
