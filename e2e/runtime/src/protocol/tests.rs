#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn signature() -> Signature {
    Signature {
        model: "mlp".to_owned(),
        columns: 3,
        classes: 2,
        max_batch: 4,
    }
}

fn tensor(shape: &str, data: &str) -> String {
    format!(r#"{{"id":"a","inputs":[{{"name":"input","datatype":"FP32","shape":{shape},"data":{data}}}]}}"#)
}

fn accepted(body: &str) -> Request {
    Request::parse(body.as_bytes(), &signature()).unwrap()
}

#[test]
fn flat_and_nested_data_are_the_same_tensor() {
    let expected = Batch {
        rows: 2,
        values: vec![1.0, 2.0, 3.0, 4.0, 5.5, -6.0],
    };
    for data in [
        "[1,2,3,4,5.5,-6]",
        "[[1,2,3],[4,5.5,-6]]",
        "[1e0,2.0,3,4,5.5,-6.0]",
    ] {
        assert_eq!(accepted(&tensor("[2,3]", data)).batch, expected, "{data}");
    }
}

#[test]
fn what_is_not_an_inference_request_is_refused_with_what_is_wrong() {
    let cases = [
        ("", "EOF"),
        ("[]", "invalid"),
        ("{}", "inputs"),
        (r#"{"inputs":[]}"#, "exactly one tensor"),
        (
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}"#,
            "[\"x\"]",
        ),
        (
            r#"{"inputs":[{"name":"input","datatype":"INT64","shape":[1,3],"data":[1,2,3]}]}"#,
            "INT64",
        ),
        (
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3]}]}"#,
            "data",
        ),
        (
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3],"data":"1,2,3"}]}"#,
            "list of numbers",
        ),
        (
            r#"{"id":7,"inputs":[{"name":"input","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}"#,
            "string",
        ),
        (&tensor("[3]", "[1,2,3]"), "[rows, 3]"),
        (&tensor("[1,4]", "[1,2,3,4]"), "[rows, 3]"),
        (&tensor("[0,3]", "[]"), "1..=4"),
        (&tensor("[-1,3]", "[1,2,3]"), "1..=4"),
        (&tensor("[5,3]", "[1,2,3,1,2,3,1,2,3,1,2,3,1,2,3]"), "1..=4"),
        (&tensor("[1.5,3]", "[1,2,3]"), "1.5"),
        (&tensor("[1,3]", "[1,2]"), "3 numbers, found 2"),
        (&tensor("[1,3]", "[1,2,null]"), "a number"),
        (&tensor("[1,3]", "[1,2,\"3\"]"), "a number"),
        (&tensor("[1,3]", "[1,2,true]"), "a number"),
        (&tensor("[1,3]", "[1,2,1e39]"), "does not fit FP32"),
        (&tensor("[1,3]", "[1,2,NaN]"), "expected value"),
        (&tensor("[2,3]", "[[1,2],[3,4],[5,6]]"), "nested as [3, 2]"),
        (&tensor("[2,3]", "[[1,2,3],[4,5]]"), "different lengths"),
        (
            &tensor("[2,3]", "[[[1],[2],[3]],[[4],[5],[6]]]"),
            "nested as [2, 3, 1]",
        ),
        (
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3],"data":[1,2,3]}],"outputs":[{"name":"y"}]}"#,
            "\"y\" is not an output",
        ),
    ];
    for (body, expected) in cases {
        let refusal = Request::parse(body.as_bytes(), &signature()).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{body}");
        let text = serde_json::from_slice::<serde_json::Value>(&refusal.body()).unwrap();
        let text = text["error"].as_str().unwrap();
        assert!(text.contains(expected), "{body}: {text}");
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let data = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Request::parse(tensor("[1,3]", &data).as_bytes(), &signature()).is_err());
}

#[test]
fn the_answer_repeats_the_id_and_has_both_outputs() {
    let (batch, reply) = accepted(&tensor("[2,3]", "[1,2,3,4,5,6]")).split();
    assert_eq!(batch.rows, 2);
    let answer = Answer {
        output: vec![0.5, 1.0, 1.5, 2.0],
        echo: vec![1.0, 2.0, 4.0, 16_777_215.0],
    };
    let body =
        serde_json::from_slice::<serde_json::Value>(&reply.body(&answer, &signature()).unwrap()).unwrap();
    let expected = serde_json::json!({
        "model_name": "mlp", "model_version": "1", "id": "a",
        "outputs": [
            {"name": "output", "datatype": "FP32", "shape": [2, 2], "data": [0.5, 1.0, 1.5, 2.0]},
            {"name": "echo", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 4.0, 16_777_215.0]},
        ],
    });
    assert_eq!(body, expected);
}

#[test]
fn only_the_outputs_asked_for_come_back() {
    let body = r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3],"data":[1,2,3]}],"outputs":[{"name":"echo"}]}"#;
    let (_, reply) = accepted(body).split();
    let answer = Answer {
        output: vec![0.0, 0.0],
        echo: vec![1.0, 2.0],
    };
    let body =
        serde_json::from_slice::<serde_json::Value>(&reply.body(&answer, &signature()).unwrap()).unwrap();
    assert_eq!(body["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(body["outputs"][0]["name"], "echo");
    assert!(body.get("id").is_none());
}
