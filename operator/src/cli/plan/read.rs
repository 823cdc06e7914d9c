//! Reads our kinds from YAML files, and the ConfigMaps with recorded arrivals that applications name; everything else in the same files is passed
//! over, as a folder of manifests has many kinds.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use harmonybatch_api::inference_platform::{Billing, CpuGrid, Planner, Prices, Replan, Serving};
use harmonybatch_api::yaml::{self, Document};
use harmonybatch_api::{InferencePlatform, InferencePlatformSpec, names};
use harmonybatch_controller::plan::{Inputs, Key, Kind, TracePlace, key};
use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::title;

/// What stood in the files, and where.
pub(crate) struct Files {
    /// The objects.
    pub(crate) inputs: Inputs,
    places: BTreeMap<(Kind, Key), Document>,
    config_maps: BTreeMap<Key, Vec<Document>>,
}

/// Namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

impl Files {
    /// A message about an object, with the file and line in which it stands.
    pub(crate) fn locate(&self, kind: Kind, key: &Key, message: &str) -> String {
        let message = format!("{}: {message}", title(kind, key));
        match self.places.get(&(kind, key.clone())) {
            Some(document) => document.error(message).to_string(),
            None => message,
        }
    }

    fn take<K>(&mut self, kind: Kind, document: Document) -> anyhow::Result<K>
    where
        K: ResourceExt + Serialize + DeserializeOwned,
    {
        let mut object: K = document.parse()?;
        if object.meta().name.as_deref().unwrap_or_default().is_empty() {
            bail!(document.error(format!("{}: metadata.name is missing", kind.as_str())));
        }
        if let Some(field) = unknown_field(&document.to_json()?, &serde_json::to_value(&object)?, "") {
            let title = title(kind, &key(&object));
            bail!(document.error(format!(
                "{title}: unknown field {field}: `kubectl explain` lists the fields"
            )));
        }
        if kind == Kind::Platform {
            object.meta_mut().namespace = None;
        } else {
            object
                .meta_mut()
                .namespace
                .get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned());
        }
        let key = key(&object);
        if let Some(first) = self.places.get(&(kind, key.clone())) {
            bail!(document.error(format!(
                "{}: it stands a second time; first in {}",
                title(kind, &key),
                stands(first)
            )));
        }
        self.places.insert((kind, key), document);
        Ok(object)
    }

    fn add(&mut self, document: Document) -> anyhow::Result<()> {
        let version = document.field("apiVersion").unwrap_or_default();
        if version == "v1" && document.field("kind") == Some("ConfigMap") {
            let key = config_map_key(&document.to_json()?);
            self.config_maps.entry(key).or_default().push(document);
            return Ok(());
        }
        if version.split('/').next() != Some(names::GROUP) {
            return Ok(());
        }
        if version != names::API_VERSION {
            bail!(document.error(format!(
                "apiVersion {version}: only {} is known",
                names::API_VERSION
            )));
        }
        match document.field("kind").unwrap_or_default() {
            "InferencePlatform" => {
                let platform = self.take(Kind::Platform, document)?;
                self.inputs.platforms.push(platform);
            }
            "InferenceModel" => {
                let model = self.take(Kind::Model, document)?;
                self.inputs.models.push(model);
            }
            "InferenceApp" => {
                let app = self.take(Kind::App, document)?;
                self.inputs.apps.push(app);
            }
            // Written by the operator: what it says is an outcome, not an input.
            "InferenceGroup" => {}
            other => bail!(document.error(format!(
                "kind {other:?} is unknown: InferenceApp, InferenceModel and InferencePlatform are read"
            ))),
        }
        Ok(())
    }

    /// Reads the recorded arrivals that applications name. Of the ConfigMaps that nobody names, nothing is asked.
    fn read_traces(&mut self) -> anyhow::Result<()> {
        for place in self.inputs.apps.iter().filter_map(TracePlace::of) {
            if self.inputs.traces.contains_key(&place) {
                continue;
            }
            let read = match self.config_maps.get(&place.config_map).map(Vec::as_slice) {
                Some([document]) => place.read(&document.parse()?),
                Some([first, second, ..]) => bail!(second.error(format!(
                    "ConfigMap {}: it stands a second time; first in {}",
                    place.config_map.1,
                    stands(first)
                ))),
                None | Some([]) => Err(place.not_found(&format!(
                    "is not among the files (namespace {}): add the file that has it, or name another",
                    place.config_map.0
                ))),
            };
            self.inputs.traces.insert(place, read);
        }
        Ok(())
    }
}

/// Where an object stands.
fn stands(document: &Document) -> String {
    format!("{}, line {}", document.file.display(), document.line)
}

/// Namespace and name of an object that is not read yet.
fn config_map_key(object: &Value) -> Key {
    let field = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
    (
        field("namespace").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        field("name").unwrap_or_default(),
    )
}

/// Reads files, folders and standard input.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Files> {
    let mut files = Files {
        inputs: Inputs::default(),
        places: BTreeMap::new(),
        config_maps: BTreeMap::new(),
    };
    for path in paths {
        for file in expand(path)? {
            let text = if file.as_os_str() == "-" {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context("read standard input")?;
                text
            } else {
                std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?
            };
            for document in yaml::read(&file, &text)? {
                for object in document.objects()? {
                    files.add(object)?;
                }
            }
        }
    }
    if files.inputs.models.is_empty() && files.inputs.apps.is_empty() {
        bail!("no InferenceModel and no InferenceApp in {}", list(paths));
    }
    if !files
        .inputs
        .platforms
        .iter()
        .any(|platform| platform.name_any() == names::DEFAULT_PLATFORM)
    {
        files.inputs.platforms.push(paper_platform());
    }
    files.read_traces()?;
    Ok(files)
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The YAML files of a folder by name, or the file itself.
fn expand(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path
        .read_dir()
        .with_context(|| format!("read folder {}", path.display()))?
    {
        let file = entry
            .with_context(|| format!("read folder {}", path.display()))?
            .path();
        if file.is_file()
            && matches!(
                file.extension().and_then(|it| it.to_str()),
                Some("yaml" | "yml" | "json")
            )
        {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("folder {} has no .yaml, .yml or .json file", path.display());
    }
    Ok(files)
}

/// A field of the file that the kind does not have. What the struct wrote back is what it knows; an empty list or map that
/// it leaves out says nothing.
fn unknown_field(written: &Value, known: &Value, path: &str) -> Option<String> {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => written.iter().find_map(|(name, value)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let empty = match value {
                Value::Null => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            match known.get(name) {
                // Read from a cluster, both hold more than anybody plans with.
                _ if path == "metadata" || path == "status" => None,
                Some(known) => unknown_field(value, known, &path),
                None if empty => None,
                None => Some(path),
            }
        }),
        (Value::Array(written), Value::Array(known)) => written
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (written, known))| unknown_field(written, known, &format!("{path}[{index}]"))),
        _ => None,
    }
}

/// The platform that is planned on where the files have none: the paper's CPU sizes and prices.
fn paper_platform() -> InferencePlatform {
    let text = |text: &str| text.to_owned();
    InferencePlatform::new(
        names::DEFAULT_PLATFORM,
        InferencePlatformSpec {
            currency: text("USD"),
            billing: Billing::default(),
            prices: Prices {
                vcpu_second: text("0.000013"),
                gpu_unit_second: text("0.000015"),
                request: text("0.00000013"),
            },
            overhead: text("5ms"),
            headroom: None,
            cpu: Some(CpuGrid {
                min: text("50m"),
                max: text("16"),
                step: text("50m"),
            }),
            gpu_pools: Vec::new(),
            serving: Serving::default(),
            planner: Planner::default(),
            replan: Replan::default(),
        },
    )
}
