//! What the README applies: every sample is accepted as it stands, and says what it is meant to show.

use std::path::{Path, PathBuf};

use harmonybatch_api::{quantity, yaml};
use serde_json::Value;

use crate::decide::decide;
use crate::tables::read;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crds")
        .join(name)
}

/// Every object of a folder of samples.
fn objects(name: &str) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| yaml::read(file, &std::fs::read_to_string(file).unwrap()).unwrap())
        .map(|document| document.to_json().unwrap())
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn every_sample_is_accepted_and_readable() {
    for name in ["samples", "samples-gpu", "samples-paper"] {
        let objects = objects(name);
        for object in &objects {
            assert_eq!(decide(object, None), Vec::<String>::new(), "{name}: {object}");
            read(object).unwrap();
            assert!(
                object["metadata"].get("namespace").is_none(),
                "{name}: a sample goes to the namespace that kubectl is told"
            );
        }
        assert_eq!(of_kind(&objects, "InferencePlatform").len(), 1, "{name}");
        let [model] = of_kind(&objects, "InferenceModel")[..] else {
            panic!("{name}: one model is expected")
        };
        assert!(
            model["spec"]["profile"]["provenance"]["source"].is_string(),
            "{name}: a sample says where its figures come from"
        );
    }
}

#[test]
fn every_sample_has_the_three_applications_of_the_worked_example() {
    for name in ["samples", "samples-gpu", "samples-paper"] {
        let objects = objects(name);
        let model = &of_kind(&objects, "InferenceModel")[0]["metadata"]["name"];
        let mut apps: Vec<_> = of_kind(&objects, "InferenceApp")
            .into_iter()
            .map(|app| {
                assert_eq!(&app["spec"]["modelRef"]["name"], model, "{name}");
                let latency: quantity::Duration =
                    app["spec"]["slo"]["latency"].as_str().unwrap().parse().unwrap();
                let rate: quantity::Rate = app["spec"]["rate"].as_str().unwrap().parse().unwrap();
                (
                    app["metadata"]["name"].as_str().unwrap(),
                    latency.to_string(),
                    rate.to_string(),
                )
            })
            .collect();
        apps.sort();
        let expected = [
            ("cart", "800ms", "10/s"),
            ("feed", "1s", "20/s"),
            ("search", "500ms", "5/s"),
        ];
        assert_eq!(
            apps,
            expected.map(|(app, latency, rate)| (app, latency.to_owned(), rate.to_owned())),
            "{name}"
        );
    }
}
