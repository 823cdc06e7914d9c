//! What two requests must have in common to share a batch.

use super::Request;

/// Model version, input names, datatypes, shapes past dimension 0, requested outputs and parameters, in one comparable form. The model itself is
/// the group's; how tensors are encoded, and how the answer shall be, is each caller's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MergeKey(Box<str>);

impl MergeKey {
    /// Of a request for a version of the model.
    pub fn new(request: &Request, version: Option<&str>) -> Self {
        let mut key = String::with_capacity(128);
        // Every text goes in with its length, so that no two lists of texts give the same key.
        let mut add = |text: &str| {
            key.push_str(&text.len().to_string());
            key.push(':');
            key.push_str(text);
        };
        add(version.map_or("", |version| version));
        add(&request.parameters);
        add(&request.inputs.len().to_string());
        for input in &request.inputs {
            add(&input.name);
            add(input.datatype.name());
            add(&input.parameters);
            add(&input.shape[1..]
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(","));
        }
        for output in &request.outputs {
            add(&output.name);
            add(&output.parameters);
        }
        Self(key.into_boxed_str())
    }

    /// The same, of the requests of one application only.
    #[must_use]
    pub fn apart(self, app: &str) -> Self {
        Self(format!("{}apart:{app}", self.0).into_boxed_str())
    }
}
