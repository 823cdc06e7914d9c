//! One request and the check of its answer. Every row carries a nonce in its first two columns, which the demo network hands
//! through to its output `echo`; an answer that has another request's id, rows or nonces is a wrong answer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::plan::App;

/// Columns that carry the nonce.
pub(crate) const TAG: usize = 2;
/// Bits of a nonce in one column: integers up to 2^24 are exact in single precision.
const COLUMN_BITS: u32 = 24;
const COLUMN_MASK: u64 = (1 << COLUMN_BITS) - 1;

/// Gives every row of a run a number of its own. 16 bits of the seed come first, so that runs differ.
#[derive(Debug)]
pub(crate) struct Nonces {
    next: u64,
}

impl Nonces {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            next: (fastrand::Rng::with_seed(seed).u64(..) & 0xFFFF) << 32,
        }
    }

    /// The first of `rows` consecutive numbers that nobody else gets.
    pub(crate) fn take(&mut self, rows: usize) -> u64 {
        let first = self.next;
        self.next += rows as u64;
        first
    }
}

/// A request, and what its answer must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    id: String,
    first: u64,
    rows: usize,
    columns: usize,
    model: String,
}

#[derive(Serialize)]
struct RequestBody<'a> {
    id: &'a str,
    inputs: [Input; 1],
}

#[derive(Serialize)]
struct Input {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 2],
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct ResponseBody {
    model_name: String,
    id: Option<String>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Exchange {
    /// A request of `app` whose rows are numbered from `first`.
    pub(crate) fn new(app: &App, first: u64) -> Self {
        let id = format!("{}-{first:x}", app.name);
        Self {
            id,
            first,
            rows: app.rows,
            columns: app.columns,
            model: app.model.clone(),
        }
    }

    /// The body of the request. Features follow from the nonce: any sixteenth between -1 and 1.
    pub(crate) fn request(&self) -> Bytes {
        let mut data = Vec::with_capacity(self.rows * self.columns);
        for nonce in self.nonces() {
            data.extend(columns(nonce));
            let mut random = fastrand::Rng::with_seed(nonce);
            data.extend((TAG..self.columns).map(|_| f32::from(random.i8(-16..16)) / 16.0));
        }
        let input = Input {
            name: "input",
            datatype: "FP32",
            shape: [self.rows, self.columns],
            data,
        };
        Bytes::from(
            serde_json::to_vec(&RequestBody {
                id: &self.id,
                inputs: [input],
            })
            .unwrap_or_default(),
        )
    }

    /// Whether a body is the answer to this request, or what is wrong with it.
    pub(crate) fn check(&self, body: &[u8]) -> Result<(), String> {
        let body = serde_json::from_slice::<ResponseBody>(body)
            .map_err(|error| format!("not an inference answer: {error}"))?;
        if body.id.as_deref() != Some(&self.id) {
            return Err(format!("id {:?} instead of \"{}\"", body.id, self.id));
        }
        if body.model_name != self.model {
            return Err(format!(
                "model \"{}\" instead of \"{}\"",
                body.model_name, self.model
            ));
        }
        for output in &body.outputs {
            let numbers = output.shape.iter().product::<usize>();
            if output.shape.first() != Some(&self.rows) || output.data.len() != numbers || numbers == 0 {
                let (name, shape, found) = (&output.name, &output.shape, output.data.len());
                return Err(format!(
                    "output {name} has shape {shape:?} and {found} numbers for {} rows",
                    self.rows
                ));
            }
        }
        let named = |name: &str| body.outputs.iter().find(|output| output.name == name);
        if named("output").is_none() {
            return Err("no output named output".to_owned());
        }
        let echo = named("echo").ok_or("no output named echo")?;
        let expected = self.nonces().flat_map(columns).map(f64::from);
        if echo.data.iter().copied().ne(expected) {
            return Err(format!(
                "echo {:?} is not that of the rows from {:?}",
                echo.data,
                columns(self.first)
            ));
        }
        Ok(())
    }

    fn nonces(&self) -> impl Iterator<Item = u64> {
        (self.first..).take(self.rows)
    }
}

/// The two columns of a nonce, high half first.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit the mantissa of an f32")]
fn columns(nonce: u64) -> [f32; TAG] {
    [
        ((nonce >> COLUMN_BITS) & COLUMN_MASK) as f32,
        (nonce & COLUMN_MASK) as f32,
    ]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::*;

    fn exchange(first: u64, rows: usize) -> Exchange {
        let app = App {
            rows,
            columns: 4,
            ..App::new("a", "h", 1.0, Duration::from_secs(1))
        };
        Exchange::new(&app, first)
    }

    /// What the demo runtime answers to a request.
    fn answer(exchange: &Exchange) -> serde_json::Value {
        let request = serde_json::from_slice::<serde_json::Value>(&exchange.request()).unwrap();
        let data = request["inputs"][0]["data"].as_array().unwrap();
        let echo = data
            .chunks(exchange.columns)
            .flat_map(|row| row[..TAG].to_vec())
            .collect::<Vec<_>>();
        serde_json::json!({"model_name": "mlp", "id": request["id"], "outputs": [
            {"name": "output", "datatype": "FP32", "shape": [exchange.rows, 1], "data": vec![0.5; exchange.rows]},
            {"name": "echo", "datatype": "FP32", "shape": [exchange.rows, 2], "data": echo},
        ]})
    }

    fn verdict(exchange: &Exchange, answer: &serde_json::Value) -> Result<(), String> {
        exchange.check(answer.to_string().as_bytes())
    }

    #[test]
    fn the_own_answer_passes() {
        for first in [0, 1, COLUMN_MASK - 1, COLUMN_MASK, 0xFFFF_FFFF_FFFF - 3] {
            let exchange = exchange(first, 3);
            assert_eq!(verdict(&exchange, &answer(&exchange)), Ok(()), "{first}");
        }
    }

    #[test]
    fn any_other_answer_is_detected() {
        let own = exchange(77, 2);
        let check = |change: &dyn Fn(&mut serde_json::Value), expected: &str| {
            let mut answer = answer(&own);
            change(&mut answer);
            let found = verdict(&own, &answer).unwrap_err();
            assert!(found.contains(expected), "{found}");
        };
        check(&|answer| answer["id"] = "a-4e".into(), "id");
        check(&|answer| answer["id"] = serde_json::Value::Null, "id");
        check(&|answer| answer["model_name"] = "other".into(), "model");
        check(&|answer| answer["outputs"][1]["data"][1] = 79.into(), "echo");
        check(&|answer| answer["outputs"][1]["data"][2] = 1.into(), "echo");
        check(
            &|answer| answer["outputs"][1]["data"] = serde_json::json!([0, 78, 0, 77]),
            "echo",
        );
        check(
            &|answer| answer["outputs"][1]["shape"] = serde_json::json!([1, 2]),
            "2 rows",
        );
        check(
            &|answer| answer["outputs"][0]["shape"] = serde_json::json!([3, 1]),
            "2 rows",
        );
        check(
            &|answer| answer["outputs"][0]["data"] = serde_json::json!([0.5]),
            "1 numbers",
        );
        check(
            &|answer| answer["outputs"][0]["name"] = "other".into(),
            "no output named output",
        );
        check(
            &|answer| drop(answer["outputs"].as_array_mut().unwrap().pop()),
            "no output named echo",
        );
        check(
            &|answer| answer["outputs"] = "x".into(),
            "not an inference answer",
        );
        assert!(own.check(b"").is_err());
        let neighbour = exchange(79, 2);
        let mut foreign = answer(&neighbour);
        foreign["id"] = "a-4d".into();
        assert!(verdict(&own, &foreign).unwrap_err().contains("echo"));
    }

    #[test]
    fn nonces_are_unique_within_a_run_and_differ_between_runs() {
        let mut nonces = Nonces::new(1);
        let first = nonces.take(3);
        assert_eq!(nonces.take(1), first + 3);
        assert!(first < 1 << 48);
        assert_ne!(Nonces::new(2).take(1), first);
    }
}
