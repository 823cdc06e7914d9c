//! What `up` and `status` print: how to go on from here.

use std::fmt::Write as _;

use anyhow::Result;

use crate::node::Node;
use crate::product::{SAMPLES_NAMESPACE, Sample};

/// Longest body that is printed in full; a longer one goes to a file.
const PRINTED_BODY: usize = 400;

/// After `up`: the plan that runs, and a request to try.
pub(crate) fn of_the_product(node: &Node, sample: &Sample) -> Result<String> {
    let table = node.kubectl(&["get", "inferenceapps,inferencegroups", "-n", SAMPLES_NAMESPACE])?;
    let body = if sample.body.len() <= PRINTED_BODY {
        format!("'{}'", sample.body)
    } else {
        let file = node.layout().root().join("request.json");
        std::fs::write(&file, &sample.body)?;
        format!("@{}", file.display())
    };
    Ok(format!(
        "{}\nkubectl get inferenceapps,inferencegroups -n {SAMPLES_NAMESPACE}\n\n{table}\nA request to try, as the callers of {} send it:\n\n    curl -H 'Host: {}' http://{}{} -d {body}\n",
        of_the_node(node),
        sample.app,
        sample.host,
        sample.gateway,
        sample.path,
    ))
}

/// After `up --no-product`: how to talk to the cluster.
pub(crate) fn of_the_node(node: &Node) -> String {
    format!(
        "\nThe cluster is up.\n\n    export KUBECONFIG={}\n",
        node.layout().admin_kubeconfig().display()
    )
}

/// For `status`: what runs.
pub(crate) fn of_what_runs(node: &Node) -> Result<String> {
    let mut text = String::new();
    for state in node.states()? {
        let how = match (state.pid, state.ended) {
            (Some(_), _) => "runs".to_owned(),
            (None, ended) => format!("ended: {}", ended.unwrap_or_default()),
        };
        let _ = writeln!(text, "{:<26}{how}", state.name);
    }
    let pods = node
        .kubectl(&["get", "pods", "--all-namespaces"])
        .unwrap_or_else(|error| format!("{error:#}\n"));
    let _ = write!(text, "\n{pods}{}", of_the_node(node));
    Ok(text)
}
