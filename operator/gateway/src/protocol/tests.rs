//! Callers and runtimes of every encoding, held against a slow implementation of the protocol.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod reference;
mod reference_grpc;

use bytes::Bytes;
use proptest::prelude::*;
use reference::Tensor;
use serde_json::json;

use super::{
    Addressee, Answer, MergeKey, Meter, Request, Wire, convert,
    datatype::Datatype,
    join, merge, split,
    tensor::{Author, Data, Form},
};
use crate::timer::Timer;

/// Callers of one merge key: the datatype and row shape of each input, and the callers.
type Case = (Vec<(&'static str, Vec<usize>)>, Vec<Caller>);

#[derive(Clone, Debug)]
struct Caller {
    tensors: Vec<Tensor>,
    id: Option<String>,
    nested: bool,
    /// Over gRPC, and whether with typed contents.
    grpc: Option<bool>,
    /// Asks for raw bytes by the request, and by the first output.
    binary: (Option<bool>, Option<bool>),
}

/// What inputs may hold, and how callers may write them.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// In any encoding, what every encoding can write.
    Common,
    /// In raw bytes only, anything.
    Anything,
}

fn cases(content: Content) -> impl Strategy<Value = Case> {
    let datatypes: Vec<&str> = reference::DATATYPES
        .into_iter()
        .filter(|datatype| matches!(content, Content::Anything) || !matches!(*datatype, "FP16" | "BF16"))
        .collect();
    let input = (
        prop::sample::select(datatypes),
        prop::collection::vec(1_usize..3, 0..3),
    );
    prop::collection::vec(input, 1..4).prop_flat_map(move |inputs| {
        let callers = prop::collection::vec(caller(inputs.clone(), content), 1..5);
        (Just(inputs), callers)
    })
}

fn caller(inputs: Vec<(&'static str, Vec<usize>)>, content: Content) -> impl Strategy<Value = Caller> {
    let is_common = matches!(content, Content::Common);
    let tensors = (1_usize..4).prop_flat_map(move |rows| {
        let tensors = inputs
            .clone()
            .into_iter()
            .enumerate()
            .map(|(index, (datatype, shape))| {
                let count = rows * shape.iter().product::<usize>();
                let elements = prop::collection::vec(reference::element(datatype, is_common), count);
                (elements, any::<bool>()).prop_map(move |(elements, is_binary)| Tensor {
                    name: format!("in {index}"),
                    datatype: datatype.to_owned(),
                    shape: [vec![rows], shape.clone()].concat(),
                    elements,
                    is_binary: is_binary || !is_common,
                })
            });
        tensors.collect::<Vec<_>>()
    });
    let asks = || prop::option::of(any::<bool>());
    let grpc = prop::option::of(any::<bool>());
    (
        tensors,
        prop::option::of(".{0,5}"),
        any::<bool>(),
        grpc,
        (asks(), asks()),
    )
        .prop_map(|(mut tensors, id, nested, grpc, binary)| {
            let has_halves = tensors
                .iter()
                .any(|tensor| matches!(&*tensor.datatype, "FP16" | "BF16"));
            let grpc = grpc.map(|typed| typed && !has_halves);
            if let Some(typed) = grpc {
                for tensor in &mut tensors {
                    tensor.is_binary = !typed;
                }
            }
            Caller {
                tensors,
                id,
                nested,
                grpc,
                binary,
            }
        })
}

impl Caller {
    fn request(&self, wire: Wire) -> Result<Request, String> {
        let mut request = self.read()?;
        request
            .convert(wire, &mut meter())
            .map_err(|error| error.to_string())?;
        Ok(request)
    }

    fn read(&self) -> Result<Request, String> {
        if self.grpc.is_some() {
            let body = reference_grpc::request(self.id.as_deref(), &self.tensors);
            let read = Request::read_grpc(&body, &mut meter()).map_err(|error| error.to_string())?;
            assert_eq!((read.model.as_str(), read.version), ("mlp", None));
            return Ok(read.request);
        }
        let mut header = json!({"id": self.id, "parameters": {"p": 1}});
        if let Some(binary) = self.binary.0 {
            header["parameters"]["binary_data_output"] = json!(binary);
        }
        let outputs = self.tensors.iter().map(|tensor| json!({"name": tensor.name}));
        let mut outputs: Vec<_> = outputs.collect();
        if let Some(binary) = self.binary.1 {
            outputs[0]["parameters"] = json!({"binary_data": binary});
        }
        header["outputs"] = json!(outputs);
        let (body, header_length) = reference::write(header, "inputs", &self.tensors, self.nested);
        let body = Bytes::from(body);
        let request = match header_length {
            Some(length) => Request::read_binary(&body, length),
            None => Request::read(&body),
        };
        request.map_err(|error| error.to_string())
    }

    /// Whether an answer has an output as raw bytes.
    fn wants_binary(&self, output: usize) -> bool {
        if let Some(typed) = self.grpc {
            return !typed;
        }
        let by_output = self.binary.1.filter(|_| output == 0);
        by_output.or(self.binary.0).unwrap_or(false)
    }

    /// Whether its answer can be written as it wants it.
    fn can_have(&self) -> bool {
        self.tensors.iter().enumerate().all(|(index, tensor)| {
            let mut elements = tensor.elements.iter();
            self.grpc.is_some()
                || self.wants_binary(index)
                || elements.all(|element| reference::to_json(&tensor.datatype, element).is_some())
        })
    }
}

fn meter() -> Meter {
    Meter::new(Timer::new())
}

/// What a runtime answers that gives its inputs back, in its own encoding or in the other one.
fn echo(message: super::Message, wire: Wire, nested: bool, other: bool) -> (Bytes, Option<usize>) {
    if wire == Wire::Grpc {
        return (reference_grpc::echo(&message.body.into_bytes(), other), None);
    }
    let (header, mut tensors) = reference::read(&message.body.into_bytes(), message.header_length, "inputs");
    for tensor in &mut tensors {
        assert_eq!(tensor.is_binary, wire == Wire::Binary);
        tensor.is_binary = tensor.is_binary != other;
    }
    assert_eq!(header["parameters"]["p"], 1);
    let asks_for_binary = header["parameters"]["binary_data_output"] == true
        && header["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|output| output["parameters"]["binary_data"] == true);
    assert_eq!(asks_for_binary, wire == Wire::Binary);
    let header = json!({"id": header["id"], "model_name": "net", "model_version": "3"});
    let (body, header_length) = reference::write(header, "outputs", &tensors, nested);
    (body.into(), header_length)
}

const TO: Addressee<'_> = Addressee {
    id: "batch",
    model: "net",
    version: Some("7"),
};

/// Puts callers into one batch and holds each answer against the caller's own rows.
fn check(callers: &[Caller], wire: Wire, nested: bool, other: bool) -> Result<(), TestCaseError> {
    let requests: Vec<Request> = callers
        .iter()
        .map(|caller| caller.request(wire).unwrap())
        .collect();
    let key = MergeKey::new(&requests[0], None);
    prop_assert!(requests.iter().all(|request| MergeKey::new(request, None) == key));
    let message = merge(&TO, &requests.iter().collect::<Vec<_>>(), wire).unwrap();
    let (body, header_length) = echo(message, wire, nested, other);
    let parts: Vec<_> = requests.iter().map(|request| (request, "mlp")).collect();
    let answers = split(&body, header_length, wire, "batch", &parts, &mut meter()).unwrap();
    prop_assert_eq!(answers.len(), callers.len());
    for (answer, caller) in answers.into_iter().zip(callers) {
        prop_assert_eq!(answer.is_ok(), caller.can_have(), "{:?}", answer);
        if let Ok(answer) = answer {
            compare(answer, caller)?;
        }
    }
    Ok(())
}

/// Cuts a caller's request into parts of so many rows, which are answered one by one, in one layout and then in the other.
fn check_parts(
    caller: &Caller,
    most: u32,
    wire: Wire,
    nested: bool,
    other: bool,
) -> Result<(), TestCaseError> {
    let whole = caller.request(wire).unwrap();
    let parts = whole.divide(most).unwrap();
    let rows: Vec<u32> = parts.iter().map(Request::rows).collect();
    prop_assert_eq!(rows.iter().sum::<u32>(), whole.rows());
    let (last, full) = rows.split_last().unwrap();
    prop_assert!(
        *last <= most && full.iter().all(|rows| *rows == most),
        "{:?}",
        rows
    );
    let mut answers = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        prop_assert_eq!(MergeKey::new(part, None), MergeKey::new(&whole, None));
        let message = merge(&TO, &[part], wire).unwrap();
        let (body, header_length) = echo(message, wire, nested != (index % 2 == 1), other);
        let asked = [(part, "mlp")];
        let answer = split(&body, header_length, wire, "batch", &asked, &mut meter()).unwrap();
        answers.push((answer.into_iter().next().unwrap().unwrap(), part.rows()));
    }
    compare(join(answers, &whole, "mlp", &mut meter()).unwrap(), caller)
}

/// Holds an answer against the caller's own rows.
fn compare(answer: Answer, caller: &Caller) -> Result<(), TestCaseError> {
    let body = answer.body.into_bytes();
    let (id, model, version, tensors) = if caller.grpc.is_some() {
        let (id, model, version, tensors) = reference_grpc::answer(&body);
        // gRPC has no other way to say that there is none.
        (Some(id).filter(|id| !id.is_empty()), model, version, tensors)
    } else {
        let (header, tensors) = reference::read(&body, answer.header_length, "outputs");
        let text = |name: &str| header[name].as_str().map(ToOwned::to_owned);
        (
            text("id"),
            text("model_name").unwrap(),
            text("model_version").unwrap(),
            tensors,
        )
    };
    let own_id = caller
        .id
        .clone()
        .filter(|id| caller.grpc.is_none() || !id.is_empty());
    prop_assert_eq!(id, own_id);
    prop_assert_eq!((model.as_str(), version.as_str()), ("mlp", "3"));
    prop_assert_eq!(tensors.len(), caller.tensors.len());
    for (index, (tensor, own)) in tensors.into_iter().zip(&caller.tensors).enumerate() {
        let is_binary = caller.wants_binary(index);
        prop_assert_eq!(
            tensor,
            Tensor {
                is_binary,
                ..own.clone()
            }
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_mix_of_encodings_every_caller_gets_its_own_rows_as_it_asked(
        (_, callers) in cases(Content::Common),
        wire in prop::sample::select(vec![Wire::Json, Wire::Binary, Wire::Grpc]),
        nested in any::<bool>(),
        other in any::<bool>(),
    ) {
        check(&callers, wire, nested, other)?;
    }

    #[test]
    fn a_request_in_parts_is_answered_as_one_request(
        (_, callers) in cases(Content::Common),
        most in 1_u32..4,
        wire in prop::sample::select(vec![Wire::Json, Wire::Binary, Wire::Grpc]),
        nested in any::<bool>(),
        other in any::<bool>(),
    ) {
        for caller in &callers {
            check_parts(caller, most, wire, nested, other)?;
        }
    }

    #[test]
    fn what_json_cannot_write_is_an_error_only_of_the_callers_that_want_json(
        (_, callers) in cases(Content::Anything),
        wire in prop::sample::select(vec![Wire::Binary, Wire::Grpc]),
    ) {
        check(&callers, wire, false, false)?;
        for caller in &callers {
            let fits = caller.tensors.iter().all(|tensor| {
                tensor.elements.iter().all(|element| reference::to_json(&tensor.datatype, element).is_some())
            });
            prop_assert_eq!(caller.request(Wire::Json).is_ok(), fits);
        }
    }

    #[test]
    fn raw_to_json_and_back_is_the_identity(
        (datatype, elements) in prop::sample::select(reference::DATATYPES.to_vec())
            .prop_filter("has a text", |datatype| !matches!(*datatype, "FP16" | "BF16"))
            .prop_flat_map(|datatype| (Just(datatype), prop::collection::vec(reference::element(datatype, true), 0..20))),
    ) {
        let raw = Bytes::from(reference::to_raw(datatype, &elements));
        let parsed = Datatype::parse(datatype).unwrap();
        let mut meter = meter();
        let text = Data::Raw(raw.clone()).into_form(Form::Text, parsed, Author::Runtime, &mut meter).unwrap();
        let back = text.into_form(Form::Raw, parsed, Author::Caller, &mut meter).unwrap();
        prop_assert_eq!(back, Data::Raw(raw.clone()));
        let costs: Vec<u64> = meter.costs().map(|(_, cost)| cost.bytes).collect();
        prop_assert_eq!(costs[3], raw.len() as u64);
        // The same text as the slow one's, read by it.
        let text = convert::text(&raw, parsed).unwrap();
        let values: Vec<serde_json::Value> = serde_json::from_slice(&[b"[", &text[..], b"]"].concat()).unwrap();
        let read: Vec<_> = values.iter().map(|value| reference::from_json(datatype, value)).collect();
        prop_assert_eq!(read, elements);
    }

    #[test]
    fn no_message_makes_the_readers_panic(
        (_, callers) in cases(Content::Anything),
        wire in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keeps in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let message = reference_grpc::request(Some("x"), &callers[0].tensors);
        let mut body = if wire { message.to_vec() } else { reference_grpc::echo_of(&message).to_vec() };
        for (index, byte) in changes {
            let at = index.index(body.len());
            body[at] = byte;
        }
        if cuts {
            body.truncate(keeps.index(body.len()));
        }
        let body = Bytes::from(body);
        let _ = Request::read_grpc(&body, &mut meter());
        let request = callers[0].read().unwrap();
        let _ = split(&body, None, Wire::Grpc, "x", &[(&request, "mlp")], &mut meter());
    }

    #[test]
    fn no_binary_body_makes_the_reader_panic(
        length in 0_usize..250,
        shape in prop::collection::vec(prop_oneof![0_u64..4, Just(u64::MAX), Just(1 << 62)], 0..3),
        datatype in prop::sample::select(reference::DATATYPES.to_vec()),
        size in prop_oneof![0_u64..20, Just(u64::MAX)],
        tail in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..20),
    ) {
        let header = json!({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}]});
        let mut body = header.to_string().into_bytes();
        let true_length = body.len();
        body.extend(tail);
        let body = Bytes::from(body);
        let _ = Request::read_binary(&body, length);
        if let Ok(request) = Request::read_binary(&body, true_length) {
            prop_assert_eq!(request.size(), body.len());
        }
    }
}

#[test]
fn names_what_is_wrong_with_a_binary_body() {
    let read = |parameters: serde_json::Value, raw: &[u8], more: usize| {
        let header =
            json!({"inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP32", "parameters": parameters}]});
        let header = header.to_string();
        let body = Bytes::from([header.as_bytes(), raw].concat());
        Request::read_binary(&body, header.len() + more)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let size = |size: i32| json!({"binary_data_size": size});
    assert_eq!(read(size(8), &[0; 8], 0), Ok(()));
    let table = [
        (
            read(size(8), &[0; 7], 0),
            "inputs[0].parameters: binary_data_size is 8, 7 bytes of the body are left",
        ),
        (
            read(size(-1), &[0; 8], 0),
            "inputs[0].parameters: binary_data_size is -1, must be a number of bytes",
        ),
        (
            read(size(8), &[0; 9], 0),
            "body: has 1 bytes behind its last binary tensor",
        ),
        (
            read(size(4), &[0; 4], 0),
            "inputs[0].data: has 4 bytes, 2 elements of FP32 have 8",
        ),
        (read(json!({}), &[0; 8], 0), "inputs[0].data: is missing"),
        (read(size(8), &[0; 8], 9), "inference-header-content-length: is "),
        (read(size(8), &[0; 8], 1), "body: trailing characters"),
    ];
    for (found, says) in table {
        assert!(found.as_ref().unwrap_err().starts_with(says), "{found:?}: {says}");
    }
    let without_header =
        json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": size(4)}]});
    let error = Request::read(&Bytes::from(without_header.to_string())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "inputs[0].parameters: binary_data_size: binary tensors need the header inference-header-content-length"
    );
}

#[test]
fn halves_pass_only_between_those_who_have_them_raw() {
    let header = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP16", "parameters": {"binary_data_size": 2}}]});
    let header = header.to_string();
    let body = Bytes::from([header.as_bytes(), &[0, 0x3c]].concat());
    let mut request = Request::read_binary(&body, header.len()).unwrap();
    assert_eq!(request.convert(Wire::Binary, &mut meter()), Ok(()));
    let error = request.convert(Wire::Json, &mut meter()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "inputs[0].data: is FP16, which the protocol has only as raw bytes: use binary tensors or gRPC on both sides (the runtime takes JSON tensors)"
    );
}
