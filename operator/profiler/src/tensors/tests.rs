#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;

use super::*;

fn metadata(inputs: &Value) -> Metadata {
    Metadata::parse(
        json!({"name": "m", "inputs": inputs, "outputs": []})
            .to_string()
            .as_bytes(),
        Protocol::OipV2Json,
    )
    .unwrap()
}

fn image() -> Metadata {
    metadata(&json!([{"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, 2]}]))
}

fn shapes(name: &str, row: &[usize]) -> BTreeMap<String, Vec<usize>> {
    BTreeMap::from([(name.to_owned(), row.to_vec())])
}

fn sent(rows: &Rows, first: usize, batch: u32) -> Value {
    serde_json::from_slice(&rows.request("m", first, batch).unwrap().body).unwrap()
}

#[test]
fn random_rows_have_the_models_shape_and_type() {
    let mixed = metadata(&json!([
        {"name": "text", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, 4]},
        {"name": "mask", "datatype": "BOOL", "shape": [-1]},
    ]));
    let rows = Rows::random(&mixed, &BTreeMap::new(), 3, 1).unwrap();
    let request = sent(&rows, 0, 3);
    assert_eq!(request["inputs"][1]["shape"], json!([3, 4]));
    let ids = request["inputs"][1]["data"].as_array().unwrap();
    assert!(ids.len() == 12 && ids.iter().all(|id| id.as_u64().unwrap() < 100));
    assert_eq!(request["inputs"][2]["shape"], json!([3]));
    assert!(
        request["inputs"][2]["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(Value::is_boolean)
    );
    assert!(request["inputs"][0]["data"][0].as_str().unwrap().len() == 16);
}

#[test]
fn a_seed_is_always_the_same_rows_and_runs_of_them_differ() {
    let made = |seed| Rows::random(&image(), &shapes("image", &[3, 1, 2]), 4, seed).unwrap();
    assert_eq!(
        made(1).request("m", 0, 4).unwrap(),
        made(1).request("m", 0, 4).unwrap()
    );
    assert_ne!(
        made(1).request("m", 0, 4).unwrap(),
        made(2).request("m", 0, 4).unwrap()
    );
    let rows = made(1);
    let (whole, turned) = (sent(&rows, 0, 4), sent(&rows, 3, 2));
    let row = |request: &Value, row: usize| {
        request["inputs"][0]["data"].as_array().unwrap()[row * 6..][..6].to_vec()
    };
    assert_eq!(row(&turned, 0), row(&whole, 3));
    assert_eq!(row(&turned, 1), row(&whole, 0));
}

#[test]
fn an_open_dimension_says_how_to_give_it() {
    let error = Rows::random(&image(), &BTreeMap::new(), 4, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input image has the shape [-1, 3, -1, 2], of which only the first dimension, the batch, may be open: \
         give the others with --shape image=3,?,2, numbers in place of the question marks"
    );
}

#[test]
fn a_shape_that_the_model_has_not_is_refused() {
    for (name, row, part) in [
        ("image", &[3, 224][..], "the model has [-1, 3, -1, 2]"),
        ("image", &[4, 224, 2], "--shape image=4,224,2"),
        ("image", &[3, 0, 2], "--shape image=3,0,2"),
        ("picture", &[3, 224, 2], "the model has the inputs image"),
    ] {
        let error = Rows::random(&image(), &shapes(name, row), 4, 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_model_that_takes_no_batch_is_measured_alone() {
    let fixed = metadata(&json!([{"name": "x", "datatype": "FP32", "shape": [1, 8]}]));
    assert!(Rows::random(&fixed, &BTreeMap::new(), 1, 1).is_ok());
    assert!(matches!(
        Rows::random(&fixed, &BTreeMap::new(), 2, 1),
        Err(TensorError::NoBatch { .. })
    ));
    let half = metadata(&json!([{"name": "x", "datatype": "FP16", "shape": [-1, 8]}]));
    assert!(matches!(
        Rows::random(&half, &BTreeMap::new(), 2, 1),
        Err(TensorError::Datatype { .. })
    ));
}

#[test]
fn given_rows_are_sent_as_they_are() {
    let request = json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": [2, 3, 1, 2], "data": [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 1.5]]}]});
    let rows = Rows::given(&image(), request.to_string().as_bytes(), 4).unwrap();
    assert_eq!(
        sent(&rows, 1, 3)["inputs"][0],
        json!({"name": "image", "datatype": "FP32", "shape": [3, 3, 1, 2],
               "data": [7, 8, 9, 10, 11, 1.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1.5]})
    );
}

#[test]
fn given_rows_that_do_not_fit_are_named() {
    let tensor = |name: &str, datatype: &str, shape: &[usize], values: usize| {
        json!({"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": vec![1; values]}]})
            .to_string()
    };
    for (request, part) in [
        (
            tensor("image", "FP32", &[1, 3, 1, 2], 5),
            "shape [1, 3, 1, 2] and 5 values do not agree",
        ),
        (
            tensor("image", "FP64", &[1, 3, 1, 2], 6),
            "datatype FP64 where the model has FP32",
        ),
        (tensor("image", "FP32", &[0, 3, 1, 2], 0), "do not agree"),
        (
            tensor("picture", "FP32", &[1, 3, 1, 2], 6),
            "the model has the inputs image",
        ),
        ("{}".to_owned(), "not a request of the Open Inference Protocol"),
    ] {
        let error = Rows::given(&image(), request.as_bytes(), 4)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}
