//! Schemas of the values that recur: what they look like, how long they may be, and what is said when they are wrong.
//!
//! A string that a person types is held by a CEL rule, because a rule's message can say what was found, what is allowed and what to write; a string
//! that the operator writes by a pattern. Every string, list and map is bounded: the API server refuses a rule whose cost it cannot bound.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Longest quantity, in characters: [`crate::quantity::MAX_LENGTH`].
const MAX_QUANTITY: u32 = 32;

/// Digits of a decimal, so few that no unit of time overflows CEL's durations.
const DECIMAL: &str = r"[0-9]{1,9}(\\.[0-9]{1,20})?";

/// A CEL rule on a string `self`, with a message that begins with what was found.
fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "messageExpression": format!("\"'\" + self + \"' {message}\""), "message": format!("the value {message}")})
}

fn ruled(rules: &[Value]) -> Schema {
    json_schema!({"type": "string", "maxLength": MAX_QUANTITY, "x-kubernetes-validations": rules})
}

/// A quantity that the operator writes.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": MAX_QUANTITY})
}

/// A duration above zero and of at most an hour.
pub(crate) fn latency(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!(
            "self.matches('^{DECIMAL}(us|ms|s)$') && self.matches('[1-9]') && duration(self) <= duration('1h')"
        ),
        "is not a latency: write a decimal above 0 with unit us, ms or s, of at most 3600s, such as 500ms",
    )])
}

/// A duration of at most an hour, zero too.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!("self.matches('^{DECIMAL}(us|ms|s)$') && duration(self) <= duration('1h')"),
        "is not a duration: write a decimal with unit us, ms or s, of at most 3600s, such as 5ms",
    )])
}

/// A rate above zero.
pub(crate) fn rate(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!("self.matches('^{DECIMAL}/(s|m|h)$') && self.matches('[1-9]')"),
        "is not a rate: write rows per s, m or h, above 0 and below 1000000000, such as 5/s, 120/m or 0.5/h",
    )])
}

/// How many times the mean rate a burst is: above 1, at most 1000.
pub(crate) fn burst_factor(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!("self.matches('^{DECIMAL}$') && double(self) > 1.0 && double(self) <= 1000.0"),
        "is not a burst factor: write a plain decimal above 1 and at most 1000, such as 4",
    )])
}

/// How long bursts last: above zero, at most an hour.
pub(crate) fn burst_duration(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!(
            "self.matches('^{DECIMAL}(us|ms|s)$') && self.matches('[1-9]') && duration(self) <= duration('1h')"
        ),
        "is not a duration of bursts: write a decimal above 0 with unit us, ms or s, of at most 3600s, such as 30s",
    )])
}

/// The period of a CPU quota, as the kernel takes it.
pub(crate) fn quota_period(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!(
            "self.matches('^{DECIMAL}(us|ms|s)$') && duration(self) >= duration('1ms') && duration(self) <= duration('1s')"
        ),
        "is not a period of a CPU quota: write a decimal with unit us, ms or s, of 1ms to 1s, such as 100ms",
    )])
}

/// A percentage above 0 and below 100.
pub(crate) fn percentile(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        r"self.matches('^[0-9]{1,2}(\\.[0-9]{1,6})?$') && self.matches('[1-9]')",
        "is not a percentile: write a decimal above 0 and below 100, such as 99 or 99.9; no plan can promise 100",
    )])
}

/// A decimal above zero.
pub(crate) fn positive_decimal(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!("self.matches('^{DECIMAL}$') && self.matches('[1-9]')"),
        "is not a positive number: write a plain decimal above 0 without exponent, such as 0.000013",
    )])
}

/// A decimal, zero too.
pub(crate) fn decimal(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!("self.matches('^{DECIMAL}$')"),
        "is not a number: write a plain decimal without sign and exponent, such as 0.00000013",
    )])
}

/// CPU above zero as Kubernetes writes it: `1650m`, `1.65`, or an integer.
pub(crate) fn cpu(_: &mut SchemaGenerator) -> Schema {
    int_or_string("^([0-9]{1,7}m|[0-9]{1,4}(\\.[0-9]{1,3})?|10000)$", 1, 10_000)
}

/// CPU limits to measure under: as many as a curve needs for its error to say something, and no more than anyone waits for.
pub(crate) fn cpus(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": cpu(generator), "minItems": 4, "maxItems": 16})
}

/// A time to measure: above zero, at most a day.
pub(crate) fn time_budget(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        &format!(
            "self.matches('^{DECIMAL}s$') && self.matches('[1-9]') && duration(self) <= duration('24h')"
        ),
        "is not a time to measure: write a decimal above 0 with unit s, of at most 86400s, such as 1200s",
    )])
}

/// Memory as Kubernetes writes it: `512Mi`, `1Gi`, or an integer of bytes.
pub(crate) fn memory(_: &mut SchemaGenerator) -> Schema {
    int_or_string("^[0-9]{1,16}(\\.[0-9]{1,9})?(Ki|Mi|Gi|Ti|k|M|G|T)?$", 0, 1 << 50)
}

// A pattern, not a rule: the API server takes the length of an integer-or-string for unbounded when it prices a rule.
fn int_or_string(pattern: &str, minimum: i64, maximum: i64) -> Schema {
    json_schema!({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": true,
        "pattern": pattern, "maxLength": MAX_QUANTITY, "minimum": minimum, "maximum": maximum,
    })
}

/// A name that is a DNS label (RFC 1123).
pub(crate) fn label(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "minLength": 1, "maxLength": 63})
}

/// A name that may have dots (RFC 1123 subdomain).
pub(crate) fn subdomain(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "minLength": 1, "maxLength": 253})
}

/// Name of an app or a model: an RFC 1035 label of at most 40 characters.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    name_of(40)
}

/// Name of a Service: an RFC 1035 label.
pub(crate) fn service_name(_: &mut SchemaGenerator) -> Schema {
    name_of(63)
}

fn name_of(length: u32) -> Schema {
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": length,
        "x-kubernetes-validations": [rule(
            "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "is not a name: write small letters, digits and hyphens, beginning with a letter and not ending with a hyphen, such as vgg19",
        )],
    })
}

/// A line or two for people.
pub(crate) fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 1024})
}

/// A part of something, below all of it.
pub(crate) fn part(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        r"self.matches('^[0-9]{1,2}(\\.[0-9]{1,6})?%$')",
        "is not a part: write a percentage from 0% to below 100%, such as 5%",
    )])
}

/// How much more of something there may be than is known of, up to as much again.
pub(crate) fn headroom(_: &mut SchemaGenerator) -> Schema {
    ruled(&[rule(
        r"self.matches('^([0-9]{1,2}(\\.[0-9]{1,6})?|100(\\.0{1,6})?)%$')",
        "is not a headroom: write a percentage from 0% to 100%, such as 10%",
    )])
}

/// A percentage with its sign.
pub(crate) fn percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?%$", "maxLength": MAX_QUANTITY})
}

/// A day.
pub(crate) fn date(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "maxLength": 10})
}

/// A point in time (RFC 3339).
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Labels of a node.
pub(crate) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 63}})
}

/// Conditions: a list keyed by type, so that several writers each own their own entries under server-side apply.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    let name = "^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$";
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the state of the object.",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "description": "What the condition is about.", "pattern": name, "maxLength": 64},
                "status": {"type": "string", "description": "True, False, or Unknown.", "enum": ["True", "False", "Unknown"]},
                "reason": {"type": "string", "description": "One word for machines.", "pattern": name, "minLength": 1, "maxLength": 128},
                "message": {"type": "string", "description": "What was found, what is allowed, what to do.", "maxLength": 4096},
                "lastTransitionTime": {"type": "string", "description": "When the status last changed.", "format": "date-time"},
                "observedGeneration": {"type": "integer", "description": "The generation of the object that this was said of.", "format": "int64", "minimum": 0},
            },
        },
    })
}
