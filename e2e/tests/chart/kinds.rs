//! The kinds that the chart installs are those that the code defines.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{objects, rendered_text, repository_root, text};

/// File name to text of the YAML files directly in a folder.
fn yaml_files(folder: &str) -> BTreeMap<String, String> {
    let folder = repository_root().join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.map(|path| {
        (
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            std::fs::read_to_string(&path).unwrap(),
        )
    })
    .collect()
}

#[test]
fn the_chart_installs_the_kinds_that_the_code_defines() {
    let (generated, copies) = (yaml_files("crds"), yaml_files("charts/harmonybatch-crds/files"));
    assert!(
        !generated.is_empty(),
        "crds/ holds no kinds: cargo run -p harmonybatch -- crds --write crds"
    );
    assert!(
        generated == copies,
        "the copies are stale: rm charts/harmonybatch-crds/files/*; cp crds/*.yaml charts/harmonybatch-crds/files/"
    );
}

#[test]
fn kinds_are_rendered_as_they_are_and_kept_unless_told_otherwise() {
    let kept = serde_json::json!({"helm.sh/resource-policy": "keep"});
    for (keep, expected) in [("crds.keep=true", kept), ("crds.keep=false", Value::Null)] {
        let mut rendered = objects(&rendered_text(&["crds.install=true", keep]));
        rendered.retain(|object| object["kind"] == "CustomResourceDefinition");
        for definition in &mut rendered {
            assert_eq!(definition["metadata"]["annotations"].take(), expected, "{keep}");
            definition["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("annotations");
        }
        let files: Vec<Value> = yaml_files("crds")
            .values()
            .flat_map(|text| objects(text))
            .collect();
        let by_name = |objects: Vec<Value>| {
            objects
                .into_iter()
                .map(|object| (text(&object, "/metadata/name").to_owned(), object))
                .collect::<BTreeMap<_, _>>()
        };
        assert!(
            by_name(rendered) == by_name(files),
            "{keep}: the kinds are rendered otherwise than crds/*.yaml"
        );
    }
}
