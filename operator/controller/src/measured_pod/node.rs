//! What a node says of itself.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

/// The label by which clouds say what kind of machine a node is.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// A node as a profile names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Kind of machine where a label says it, architecture, cores, name.
    pub hardware: String,
    /// Release of its kernel.
    pub kernel: Option<String>,
}

impl Machine {
    /// Reads it off the node's object.
    pub fn of(node: &Node) -> Self {
        let status = node.status.as_ref();
        let info = status.and_then(|status| status.node_info.as_ref());
        let cores = status
            .and_then(|status| status.capacity.as_ref()?.get("cpu"))
            .map(|cores| format!("{} cores", cores.0));
        let parts = [
            node.labels().get(INSTANCE_TYPE).cloned(),
            info.map(|info| info.architecture.clone()),
            cores,
            Some(format!("node {}", node.name_any())),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();
        Self {
            hardware: parts.join(", "),
            kernel: info
                .map(|info| info.kernel_version.clone())
                .filter(|kernel| !kernel.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_its_kind_cores_and_kernel() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"node.kubernetes.io/instance-type": "m5.large"}},
            "status": {"capacity": {"cpu": "2"}, "nodeInfo": {
                "architecture": "amd64", "kernelVersion": "6.18.1", "bootID": "", "containerRuntimeVersion": "", "kubeProxyVersion": "",
                "kubeletVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""}},
        }))
        .unwrap();
        let machine = Machine::of(&node);
        assert_eq!(machine.hardware, "m5.large, amd64, 2 cores, node n1");
        assert_eq!(machine.kernel.as_deref(), Some("6.18.1"));
        let bare: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap();
        assert_eq!(
            Machine::of(&bare),
            Machine {
                hardware: "node n1".to_owned(),
                kernel: None
            }
        );
    }
}
