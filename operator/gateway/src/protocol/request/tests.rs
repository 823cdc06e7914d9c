#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    protocol::{Addressee, Answer, AnswerError, MergeKey, merge, split},
    timer::Timer,
};

const TO: Addressee<'_> = Addressee {
    id: "batch",
    model: "net",
    version: None,
};

/// The merged JSON body.
fn merged(requests: &[&Request]) -> Bytes {
    merge(&TO, requests, Wire::Json).unwrap().body.into_bytes()
}

/// The answers to callers of JSON by a runtime of JSON.
fn answers(body: &Bytes, requests: &[(&Request, &str)]) -> Result<Vec<Answer>, AnswerError> {
    let mut meter = Meter::new(Timer::new());
    let answers = split(body, None, Wire::Json, "batch", requests, &mut meter)?;
    Ok(answers.into_iter().map(Result::unwrap).collect())
}

fn read(body: &Value) -> Result<Request, String> {
    Request::read(&Bytes::from(body.to_string())).map_err(|error| error.to_string())
}

fn valid() -> Value {
    json!({"id": "7", "parameters": {"b": 1, "a": true}, "inputs": [
        {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
        {"name": "y", "shape": [2], "datatype": "BYTES", "data": ["p", "q"]},
    ], "outputs": [{"name": "z"}]})
}

#[test]
fn reads_what_the_protocol_allows() {
    let request = read(&valid()).unwrap();
    assert_eq!((request.rows(), request.id.as_deref()), (2, Some("7")));
    assert_eq!(request.parameters, r#"{"a":true,"b":1}"#);
    assert_eq!(
        read(&json!({"inputs": [{"name": "x", "shape": [1], "datatype": "BOOL", "data": [true]}]}))
            .unwrap()
            .id,
        None
    );
}

/// What is said of a request that is valid but for one field.
fn refused(field: &str, value: Value) -> String {
    let mut body = valid();
    let (parent, name) = field.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        object => object[name] = value,
    }
    read(&body).unwrap_err()
}

#[test]
fn names_the_field_that_is_wrong() {
    let table: [(&str, Value, &str); 24] = [
        (
            "/id",
            json!(7),
            "body: invalid type: integer `7`, expected a string",
        ),
        ("/ids", json!(7), "body: unknown field `ids`"),
        ("/inputs", json!([]), "inputs: is empty"),
        ("/inputs", Value::Null, "body: invalid type: null"),
        (
            "/inputs/0",
            json!(["x", [2], "INT8", {}, [1, 2]]),
            "body: invalid type: sequence, expected an object",
        ),
        (
            "/outputs/0",
            json!(["z"]),
            "body: invalid type: sequence, expected an object",
        ),
        ("/inputs/0/name", json!(1), "body: invalid type: integer `1`"),
        ("/inputs/0/shape", json!([]), "inputs[0].shape: is empty"),
        (
            "/inputs/0/shape",
            json!([0, 2]),
            "inputs[0].shape: is [0, 2], every dimension must be at least 1",
        ),
        (
            "/inputs/0/shape",
            json!([-2, 2]),
            "body: invalid value: integer `-2`",
        ),
        (
            "/inputs/0/shape",
            json!([4_294_967_296_u64, 2]),
            "inputs[0].data: has 4 elements",
        ),
        (
            "/inputs/0/datatype",
            json!("float"),
            "inputs[0].datatype: \"float\" is no datatype",
        ),
        (
            "/inputs/0/data",
            json!([1, 2, 3]),
            "inputs[0].data: has 3 elements, its shape says 4",
        ),
        ("/inputs/0/data", Value::Null, "inputs[0].data: is missing"),
        (
            "/inputs/1/shape",
            json!([1, 2]),
            "inputs[1].shape: has 1 rows, inputs[0] has 2",
        ),
        (
            "/inputs/1/name",
            json!("x"),
            "inputs[1].name: \"x\" is there twice",
        ),
        (
            "/inputs/1/parameters",
            json!({"binary_data_size": 8}),
            "inputs[1].data: is there beside parameters.binary_data_size, must be one of both",
        ),
        (
            "/inputs/1/parameters",
            json!({"p": [1]}),
            "inputs[1].parameters: p must be a string, a number or a boolean",
        ),
        (
            "/parameters",
            json!({"binary_data_output": "yes"}),
            "parameters: binary_data_output is \"yes\", must be true or false",
        ),
        ("/parameters", json!({"p": null}), "parameters: p must be"),
        (
            "/outputs",
            json!([{"name": "z"}, {"name": "z"}]),
            "outputs[1].name: \"z\" is there twice",
        ),
        (
            "/outputs/0/parameters",
            json!({"binary_data": 1}),
            "outputs[0].parameters: binary_data is 1, must be true or false",
        ),
        (
            "/inputs/1/parameters",
            json!({"binary_data_size": false, "binary_data": true}),
            "inputs[1].parameters: binary_data is a parameter of an output that is asked for",
        ),
        (
            "/inputs/0/data",
            json!([1, 2, 3, 4e38]),
            "inputs[0].data: has 4e+38 among its elements",
        ),
    ];
    for (field, value, says) in table {
        let error = refused(field, value);
        assert!(error.starts_with(says), "{field}: {error}");
    }
}

#[test]
fn a_body_that_would_cost_more_than_its_bytes_is_refused() {
    let table: [(&str, Value, &str); 5] = [
        (
            "/inputs",
            json!(vec![valid()["inputs"][0].clone(); 257]),
            "body: more than 256 inputs at line 1",
        ),
        (
            "/outputs",
            json!(vec![json!({"name": "z"}); 257]),
            "body: more than 256 outputs at line 1",
        ),
        (
            "/inputs/0/shape",
            json!(vec![1; 33]),
            "body: more than 32 dimensions at line 1",
        ),
        (
            "/parameters",
            json!({"p": "x".repeat(4097)}),
            "body: parameters of more than 4096 bytes at line 1",
        ),
        (
            "/inputs/0/name",
            json!("x".repeat(20_000)),
            "body: has 20014 bytes of id, names, datatypes and parameters, at most 16384 may be",
        ),
    ];
    for (field, value, says) in table {
        let error = refused(field, value);
        assert!(error.starts_with(says), "{field}: {error}");
    }
}

#[test]
fn requests_merge_only_where_all_but_rows_and_ids_are_equal() {
    let key = |body: &Value, version| MergeKey::new(&read(body).unwrap(), version);
    let base = key(&valid(), None);
    let mut same = valid();
    same["id"] = json!("other");
    same["inputs"][0]["data"] = json!([[5, 6], [7, 8]]);
    assert_eq!(key(&same, None), base);
    assert_ne!(key(&valid(), Some("1")), base);
    let table = [
        ("/parameters/a", json!(false)),
        ("/inputs/0/name", json!("w")),
        ("/inputs/0/datatype", json!("FP64")),
        ("/inputs/0/shape", json!([2, 2, 1])),
        ("/inputs/0/parameters", json!({"p": 1})),
        ("/outputs", json!([])),
        ("/outputs/0/name", json!("y")),
    ];
    for (field, value) in table {
        let mut other = valid();
        let (parent, name) = field.rsplit_once('/').unwrap();
        other.pointer_mut(parent).unwrap()[name] = value;
        assert_ne!(key(&other, None), base, "{field}");
    }
}

/// A caller: its rows, whether it nests them, its id.
type Caller = (Vec<(String, f64)>, bool, Option<String>);

/// Rows hold texts, so that nothing but the rows themselves can come back.
fn callers() -> impl Strategy<Value = Vec<Caller>> {
    // Eighths, which text and double hold exactly.
    let row = (".{0,6}", any::<i32>().prop_map(|number| f64::from(number) / 8.0));
    prop::collection::vec(
        (
            prop::collection::vec(row, 1..5),
            any::<bool>(),
            prop::option::of(".{0,5}"),
        ),
        1..6,
    )
}

fn body(rows: &[(String, f64)], nested: bool, id: Option<&str>, pretty: bool) -> Bytes {
    let texts: Vec<Value> = rows
        .iter()
        .map(|(text, _)| if nested { json!([text, "]"]) } else { json!(text) })
        .collect();
    let texts = if nested {
        texts
    } else {
        rows.iter()
            .flat_map(|(text, _)| [json!(text), json!("]")])
            .collect()
    };
    let numbers: Vec<f64> = rows.iter().map(|(_, number)| *number).collect();
    let body = json!({"id": id, "inputs": [
        {"name": "t", "shape": [rows.len(), 2], "datatype": "BYTES", "data": texts},
        {"name": "n", "shape": [rows.len()], "datatype": "FP64", "data": numbers},
    ]});
    let text = if pretty {
        serde_json::to_string_pretty(&body)
    } else {
        serde_json::to_string(&body)
    };
    text.unwrap().into()
}

/// An honest runtime that gives its inputs back.
fn echo(merged: &Bytes, nest: bool) -> Bytes {
    let merged: Value = serde_json::from_slice(merged).unwrap();
    let outputs: Vec<Value> = merged["inputs"].as_array().unwrap().iter().map(|input| {
        let mut output = json!({"name": format!("out {}", input["name"].as_str().unwrap()), "shape": input["shape"],
            "datatype": input["datatype"], "data": input["data"]});
        let flat = !input["data"][0].is_array();
        if nest && flat && input["shape"].as_array().unwrap().len() == 2 {
            let rows: Vec<Value> = input["data"].as_array().unwrap().chunks(2).map(|row| json!(row)).collect();
            output["data"] = json!(rows);
        }
        output
    }).collect();
    json!({"id": merged["id"], "model_name": "net", "outputs": outputs, "parameters": {"p": 1}})
        .to_string()
        .into()
}

/// All elements, in order.
fn flat(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.clone()],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_caller_gets_exactly_its_own_rows(callers in callers(), nest in any::<bool>(), pretty in any::<bool>()) {
        let bodies = callers.iter().map(|(rows, nested, id)| body(rows, *nested, id.as_deref(), pretty));
        let requests: Vec<Request> = bodies.map(|body| Request::read(&body).unwrap()).collect();
        let key = MergeKey::new(&requests[0], None);
        prop_assert!(requests.iter().all(|request| MergeKey::new(request, None) == key));
        let merged = merged(&requests.iter().collect::<Vec<_>>());
        let wire: Value = serde_json::from_slice(&merged).unwrap();
        let total: usize = callers.iter().map(|(rows, ..)| rows.len()).sum();
        prop_assert_eq!(&wire["inputs"][0]["shape"], &json!([total, 2]));
        // What the runtime gets is a request that we would take.
        prop_assert!(Request::read(&merged).is_ok());
        let answers = answers(&echo(&merged, nest), &requests.iter().map(|request| (request, "mlp")).collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(answers.len(), callers.len());
        for (answer, (rows, _, id)) in answers.into_iter().zip(&callers) {
            let answer: Value = serde_json::from_slice(&answer.body.into_bytes()).unwrap();
            prop_assert_eq!(answer["id"].as_str(), id.as_deref());
            prop_assert_eq!(&answer["model_name"], "mlp");
            prop_assert_eq!(&answer["parameters"], &json!({"p": 1}));
            prop_assert_eq!(&answer["outputs"][0]["name"], "out t");
            prop_assert_eq!(&answer["outputs"][0]["shape"], &json!([rows.len(), 2]));
            let texts: Vec<Value> = rows.iter().flat_map(|(text, _)| [json!(text), json!("]")]).collect();
            prop_assert_eq!(flat(&answer["outputs"][0]["data"]), texts);
            let numbers: Vec<Value> = rows.iter().map(|(_, number)| json!(number)).collect();
            prop_assert_eq!(flat(&answer["outputs"][1]["data"]), numbers);
        }
    }

    #[test]
    fn no_body_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:0-9a-z \\\\]{0,80}") {
        let _ = Request::read(&Bytes::from(body));
        let data = format!(r#"{{"inputs":[{{"name":"x","shape":[2,2],"datatype":"BYTES","data":{text}}}]}}"#);
        let _ = Request::read(&Bytes::from(data));
    }
}

#[test]
fn an_answer_without_what_was_asked_for_is_no_answer() {
    let request = read(&valid()).unwrap();
    let answer = |output: &str| {
        Bytes::from(
            json!({"outputs": [
        {"name": output, "shape": [2], "datatype": "FP32", "data": [1, 2]}]})
            .to_string(),
        )
    };
    assert!(answers(&answer("z"), &[(&request, "m")]).is_ok());
    assert!(
        answers(&answer("w"), &[(&request, "m")])
            .unwrap_err()
            .to_string()
            .contains("lacks the output z")
    );
}

#[test]
fn nothing_is_read_of_arrays_that_stand_for_objects() {
    let body = Bytes::from_static(
        br#"[null, {}, [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}], []]"#,
    );
    let error = Request::read(&body).unwrap_err().to_string();
    assert!(
        error.starts_with("body: invalid type: sequence, expected an object"),
        "{error}"
    );
    let one = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}]});
    let request = read(&one).unwrap();
    let answer = Bytes::from_static(br#"[null, null, {}, [["y", [1], "INT8", {}, [1]]]]"#);
    assert!(answers(&answer, &[(&request, "m")]).is_err());
}

#[test]
fn the_size_of_a_binary_output_is_found_under_a_name_with_escapes() {
    let one = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}]});
    let request = read(&one).unwrap();
    let answer = Bytes::from_static(
        br#"{"outputs": [{"name": "y", "shape": [1], "datatype": "INT8", "parameters": {"binary_data\u005fsize": 1}, "data": [1]}]}"#,
    );
    let error = answers(&answer, &[(&request, "m")]).unwrap_err().to_string();
    assert!(
        error.contains("has binary_data_size 1, 0 bytes of the body are left"),
        "{error}"
    );
}

#[test]
fn what_a_body_may_hold_most_is_taken() {
    let inputs: Vec<Value> = (0..256)
        .map(|i| json!({"name": format!("{i:048}"), "shape": vec![1; 32], "datatype": "INT8", "data": [1]}))
        .collect();
    let outputs: Vec<Value> = (0..256).map(|i| json!({"name": i.to_string()})).collect();
    assert!(read(&json!({"inputs": inputs, "outputs": outputs})).is_ok());
}

#[test]
fn what_the_json_reader_repeats_is_cut() {
    let mut body = valid();
    body["x".repeat(100_000)] = json!(1);
    let error = read(&body).unwrap_err();
    assert!(
        error.starts_with("body: unknown field `xxx") && error.len() < 600,
        "{error}"
    );
}
