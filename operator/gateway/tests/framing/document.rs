//! Holds `FRAMING.md` equal to the cases.

use std::fmt::Write as _;

use crate::{Case, http1_cases, http2_cases};

fn table(text: &mut String, title: &str, cases: &[Case]) {
    write!(
        text,
        "## {title}\n\n| What is sent | Answer | Seen by the runtime | Counted as |\n|---|---|---|---|\n"
    )
    .unwrap();
    for case in cases {
        let Case {
            name,
            answer,
            runtime,
            counted,
            ..
        } = case;
        let counted = if counted.is_empty() {
            String::new()
        } else {
            format!("`{counted}`")
        };
        writeln!(text, "| {name} | {answer} | {runtime} | {counted} |").unwrap();
    }
    text.push('\n');
}

#[test]
fn the_document_has_the_cases_that_are_played() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FRAMING.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (story, _) = document.split_once("## HTTP/1.1: cases").unwrap();
    let mut expected = story.to_owned();
    table(&mut expected, "HTTP/1.1: cases", &http1_cases::all());
    table(&mut expected, "HTTP/2: cases", &http2_cases::all());
    let expected = format!("{}\n", expected.trim_end());
    if std::env::var_os("REFRESH_FRAMING").is_some() {
        std::fs::write(path, expected).unwrap();
        return;
    }
    assert!(
        document == expected,
        "FRAMING.md is stale: REFRESH_FRAMING=1 cargo test -p harmonybatch-gateway --test framing the_document"
    );
}

#[test]
fn no_two_cases_have_one_name() {
    for cases in [http1_cases::all(), http2_cases::all()] {
        let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }
}
