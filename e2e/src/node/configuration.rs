//! The components' configuration files.
//!
//! The node shares the machine with other work, may lack `CAP_SYS_RESOURCE` and may have control groups of version 1: the settings that
//! matter for that carry a comment. Kubernetes reads JSON wherever it reads YAML.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::layout::{CLUSTER_DOMAIN, DNS_ADDRESS, Layout, NODE_ADDRESS, NODE_NAME, POD_RANGE};
use crate::image::Archive;
use crate::requirements::CNI_PLUGINS;

/// Writes them all.
pub(super) fn write(layout: &Layout, pause: &Archive) -> Result<()> {
    let files = [
        (layout.configuration("containerd.toml"), containerd(layout, pause)),
        (
            layout.folder("cni").join("10-harmonybatch.conflist"),
            pretty(&cni(layout)),
        ),
        (layout.configuration("kubelet.json"), pretty(&kubelet(layout))),
        (
            layout.configuration("kube-proxy.json"),
            pretty(&kube_proxy(layout)),
        ),
    ];
    for (file, text) in files {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn containerd(layout: &Layout, pause: &Archive) -> String {
    let quoted = |path: std::path::PathBuf| json!(path).to_string();
    format!(
        r#"version = 2
root = {root}
# Below /run, which the node has for itself: sockets of shims and mounts vanish with the node.
state = "/run/containerd"
oom_score = 0

[grpc]
  address = {socket}

[plugins."io.containerd.internal.v1.opt"]
  path = {opt}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {pause}
  # Without CAP_SYS_RESOURCE every sandbox would fail: its oom_score_adj is below that of its parent.
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = {cni}

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
        root = quoted(layout.folder("containerd")),
        socket = quoted(layout.containerd_socket()),
        opt = quoted(layout.folder("containerd-opt")),
        pause = json!(pause.name()),
        cni = quoted(layout.folder("cni")),
    )
}

/// Pods hang on one bridge and reach each other and the node; nothing leaves the machine.
fn cni(layout: &Layout) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "harmonybatch",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "hb-pods",
                "isGateway": true,
                // A pod may reach itself through its Service.
                "hairpinMode": true,
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": layout.folder("cni-addresses"),
                    "ranges": [[{ "subnet": POD_RANGE }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

fn kubelet(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": layout.certificate("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": layout.certificate("kubelet-server.crt"),
        "tlsPrivateKeyFile": layout.certificate("kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "volumePluginDir": layout.folder("volume-plugins"),
        "podLogsDir": layout.folder("pod-logs"),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        // Pods must not inherit the machine's name servers, which they cannot reach.
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": false,
        "failSwapOn": false,
        // Lower than ours it must not go without CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        // Images come from no registry: one that is collected would be gone for good.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%" },
        "nodeStatusUpdateFrequency": "5s",
        "serializeImagePulls": false,
    })
}

fn kube_proxy(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": layout.kubeconfig("kube-proxy") },
        "hostnameOverride": NODE_NAME,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clusterCIDR": POD_RANGE,
        "mode": "iptables",
        "oomScoreAdj": 0,
        // 0s would mean 1 s: after a scale all requests would go to the old pod for that long.
        "iptables": { "minSyncPeriod": "100ms", "syncPeriod": "30s" },
        "nodePortAddresses": [format!("{NODE_ADDRESS}/32")],
        // The table of connections belongs to the machine: leave its limits alone.
        "conntrack": {
            "maxPerCore": 0, "min": 0,
            "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s", "udpTimeout": "0s", "udpStreamTimeout": "0s",
        },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn layout() -> Layout {
        Layout::at(Path::new("/cache/cluster"))
    }

    #[test]
    fn containerd_uses_the_own_pause_image_and_folders_of_the_cluster_only() {
        let pause = Archive {
            repository: "dev.local/pause".into(),
            tag: "1-abc".into(),
            file: "/cache/pause.tar".into(),
        };
        let text = containerd(&layout(), &pause);
        for line in [
            r#"sandbox_image = "dev.local/pause:1-abc""#,
            "restrict_oom_score_adj = true",
            r#"root = "/cache/cluster/containerd""#,
            r#"address = "/cache/cluster/containerd.sock""#,
            r#"conf_dir = "/cache/cluster/cni""#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("/var/lib"), "{text}");
    }

    #[test]
    fn the_kubelet_keeps_images_and_needs_no_privilege_that_containers_lack() {
        let configuration = kubelet(&layout());
        assert_eq!(configuration["imageGCHighThresholdPercent"], 100);
        assert_eq!(configuration["failCgroupV1"], false);
        assert_eq!(configuration["oomScoreAdj"], 0);
        assert_eq!(
            configuration["containerRuntimeEndpoint"],
            "unix:///cache/cluster/containerd.sock"
        );
    }

    #[test]
    fn kube_proxy_leaves_the_machines_connection_table_alone_and_follows_scaling_at_once() {
        let configuration = kube_proxy(&layout());
        assert_eq!(configuration["conntrack"]["maxPerCore"], 0);
        assert_eq!(configuration["iptables"]["minSyncPeriod"], "100ms");
        assert_eq!(configuration["nodePortAddresses"][0], "10.89.0.1/32");
    }
}
