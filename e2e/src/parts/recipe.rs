//! The recipes: which modules, which programs of them.

/// How to build one part.
#[derive(Debug)]
pub struct Recipe {
    /// Short name of the part.
    pub name: &'static str,
    /// The Go module that it comes from.
    pub module: &'static str,
    /// What `go.mod` says: the versions.
    pub go_mod: &'static str,
    /// What `go.sum` says: the hashes.
    pub go_sum: &'static str,
    /// Name of each program, and its package.
    pub programs: &'static [(&'static str, &'static str)],
}

/// The control plane and the node.
pub const KUBERNETES: Recipe = Recipe {
    name: "kubernetes",
    module: "k8s.io/kubernetes",
    go_mod: include_str!("../../parts/kubernetes/go.mod"),
    go_sum: include_str!("../../parts/kubernetes/go.sum"),
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        (
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
};

/// The API server's store.
pub const ETCD: Recipe = Recipe {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    go_mod: include_str!("../../parts/etcd/go.mod"),
    go_sum: include_str!("../../parts/etcd/go.sum"),
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
};

/// Names inside the cluster.
pub const COREDNS: Recipe = Recipe {
    name: "coredns",
    module: "github.com/coredns/coredns",
    go_mod: include_str!("../../parts/coredns/go.mod"),
    go_sum: include_str!("../../parts/coredns/go.sum"),
    programs: &[("coredns", "github.com/coredns/coredns")],
};

/// Installs the charts.
pub const HELM: Recipe = Recipe {
    name: "helm",
    module: "helm.sh/helm/v4",
    go_mod: include_str!("../../parts/helm/go.mod"),
    go_sum: include_str!("../../parts/helm/go.sum"),
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
};

impl Recipe {
    /// The version that `go.mod` requires, such as `v1.34.4`.
    pub fn version(&self) -> &'static str {
        let required = |line: &'static str| {
            line.trim()
                .trim_start_matches("require ")
                .strip_prefix(self.module)?
                .strip_prefix(' ')
        };
        self.go_mod
            .lines()
            .find_map(required)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or("(no version)")
    }

    /// Without symbols; Kubernetes takes its version from the linker and says `v0.0.0` without.
    pub fn link_flags(&self) -> String {
        let mut flags = "-s -w".to_owned();
        if self.module == KUBERNETES.module {
            let version = self.version();
            let mut numbers = version.trim_start_matches('v').split('.');
            let (major, minor) = (
                numbers.next().unwrap_or_default(),
                numbers.next().unwrap_or_default(),
            );
            for (name, value) in [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)] {
                flags += &[" -X k8s.io/component-base/version.", name, "=", value].concat();
            }
        }
        flags
    }
}
