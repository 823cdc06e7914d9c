//! What is wrong with a ConfigMap is said in a way that its owner can act on.

use k8s_openapi::ByteString;

use super::*;

fn place() -> TracePlace {
    TracePlace {
        config_map: ("shop".to_owned(), "arrivals".to_owned()),
        key: "times".to_owned(),
    }
}

fn config_map(data: &[(&str, &str)]) -> ConfigMap {
    let owned = |&(key, text): &(&str, &str)| (key.to_owned(), text.to_owned());
    ConfigMap {
        data: Some(data.iter().map(owned).collect()),
        ..ConfigMap::default()
    }
}

#[test]
fn a_recording_is_read_with_what_else_stands_in_its_config_map() {
    let found = place().read(&config_map(&[
        ("notes", "of May"),
        (
            "times",
            "TIMESTAMP,Tokens\n2026-05-01 10:00:00,3\n2026-05-01 10:00:02,8\n",
        ),
    ]));
    // Two arrivals in two seconds, and the mean gap of two seconds before the next round.
    assert!(found.is_ok_and(|trace| (trace.rate() - 0.5).abs() < 1e-12));
}

#[test]
fn what_cannot_be_read_says_the_place_and_what_to_do() {
    let binary = ConfigMap {
        binary_data: Some([("times".to_owned(), ByteString(vec![1, 2]))].into()),
        ..ConfigMap::default()
    };
    let many = ["a", "b", "c", "d", "e", "f"].map(|key| (key, ""));
    let long = "1\n".repeat(MOST_BYTES / 2 + 1);
    let cases: [(ConfigMap, &str, &str); 7] = [
        (
            ConfigMap::default(),
            reason::TRACE_NOT_FOUND,
            "trace.configMapKeyRef.key: ConfigMap arrivals: times is not in its data (it has none): put the arrivals under that key, or name another",
        ),
        (
            config_map(&[("time", "0\n1")]),
            reason::TRACE_NOT_FOUND,
            "times is not in its data (it has time): ",
        ),
        (
            config_map(&many),
            reason::TRACE_NOT_FOUND,
            "(it has a, b, c, d, e, ...)",
        ),
        (
            binary,
            reason::TRACE_NOT_FOUND,
            "times is binaryData: put the arrivals into data, as text",
        ),
        (
            config_map(&[("times", "0\n1\n0.5")]),
            reason::INVALID,
            "trace.configMapKeyRef: ConfigMap arrivals, key times: line 3: \"0.5\" is earlier than the time before it",
        ),
        (
            config_map(&[("times", "1\n1\n1")]),
            reason::INVALID,
            "all arrivals of the trace are at the same time",
        ),
        (
            config_map(&[("times", &long)]),
            reason::INVALID,
            "1048578 bytes are more than the 1048576 that a ConfigMap holds",
        ),
    ];
    for (found, reason, part) in cases {
        let problem = place().read(&found).err();
        assert!(
            problem
                .as_ref()
                .is_some_and(|it| it.reason == reason && it.message.contains(part)),
            "{part}: {problem:?}"
        );
    }
}
