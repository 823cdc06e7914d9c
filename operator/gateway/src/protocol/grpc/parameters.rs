//! Parameters of messages, as JSON has them.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::messages::{InferParameter, ParameterChoice};

/// # Errors
/// Names a parameter that JSON cannot write.
pub(in super::super) fn to_json(
    parameters: BTreeMap<String, InferParameter>,
) -> Result<BTreeMap<String, Value>, String> {
    let values = parameters.into_iter().map(|(name, parameter)| {
        let value = match parameter.parameter_choice {
            None => return Err(format!("{name} has no value")),
            Some(ParameterChoice::BoolParam(flag)) => flag.into(),
            Some(ParameterChoice::Int64Param(number)) => number.into(),
            Some(ParameterChoice::StringParam(text)) => text.into(),
            Some(ParameterChoice::Uint64Param(number)) => number.into(),
            Some(ParameterChoice::DoubleParam(number)) => {
                let finite = Number::from_f64(number);
                Value::Number(finite.ok_or_else(|| format!("{name} is {number}, must be a finite number"))?)
            }
        };
        Ok((name, value))
    });
    values.collect()
}

/// Of an object's text, or of none. What a runtime of REST has there beyond texts, numbers and booleans is given as its JSON.
pub(in super::super) fn from_json(text: &str) -> BTreeMap<String, InferParameter> {
    let values: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let parameters = values.into_iter().filter_map(|(name, value)| {
        let choice = match value {
            Value::Null => return None,
            Value::Bool(flag) => ParameterChoice::BoolParam(flag),
            Value::String(text) => ParameterChoice::StringParam(text),
            Value::Number(number) => self::number(&number),
            other => ParameterChoice::StringParam(other.to_string()),
        };
        let parameter = InferParameter {
            parameter_choice: Some(choice),
        };
        Some((name, parameter))
    });
    parameters.collect()
}

fn number(number: &Number) -> ParameterChoice {
    let whole = number.as_i64().map(ParameterChoice::Int64Param);
    whole
        .or_else(|| number.as_u64().map(ParameterChoice::Uint64Param))
        .unwrap_or_else(|| ParameterChoice::DoubleParam(number.as_f64().unwrap_or_default()))
}
