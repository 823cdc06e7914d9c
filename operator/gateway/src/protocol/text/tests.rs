#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn checked(text: &str, shape: &[u64], datatype: &str) -> Result<(Layout, String), String> {
    let data = check(&Bytes::from(text.to_owned()), shape, Datatype::parse(datatype)?)?;
    Ok((data.layout, String::from_utf8(data.elements.to_vec()).unwrap()))
}

#[test]
fn takes_flat_and_nested_data() {
    let table = [
        ("[1,2, 3 ,4]", &[2, 2][..], "FP32", Layout::Flat, "1,2, 3 ,4"),
        ("[ [1,2],[3,4] ]", &[2, 2], "INT8", Layout::Nested, "[1,2],[3,4]"),
        ("[[[1],[2]]]", &[1, 2, 1], "UINT8", Layout::Nested, "[[1],[2]]"),
        ("[-1.5e+3]", &[1], "FP64", Layout::Flat, "-1.5e+3"),
        ("[true,false,0]", &[3], "BOOL", Layout::Flat, "true,false,0"),
        (
            r#"["a]\"[,", "\\"]"#,
            &[2, 1],
            "BYTES",
            Layout::Flat,
            r#""a]\"[,", "\\""#,
        ),
        (
            r#"[["]"],["["]]"#,
            &[2, 1],
            "BYTES",
            Layout::Nested,
            r#"["]"],["["]"#,
        ),
    ];
    for (text, shape, datatype, form, elements) in table {
        assert_eq!(
            checked(text, shape, datatype),
            Ok((form, elements.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn refuses_data_that_is_not_what_shape_and_datatype_say() {
    let table = [
        ("1", &[1][..], "FP32", "must be an array"),
        ("{\"a\":1}", &[1], "FP32", "must be an array"),
        ("[]", &[1], "FP32", "has 0 elements, its shape says 1"),
        ("[1,2,3]", &[2, 1], "FP32", "has 3 elements, its shape says 2"),
        (
            "[[1,2],[3]]",
            &[2, 2],
            "FP32",
            "has an array of 1 at depth 2, its shape says 2",
        ),
        (
            "[[1,2]]",
            &[2, 2],
            "FP32",
            "has an array of 1 at depth 1, its shape says 2",
        ),
        (
            "[[1,2],3]",
            &[2, 2],
            "FP32",
            "has an element at depth 1, its shape has 2 dimensions",
        ),
        (
            "[[[1]],[[2]]]",
            &[2, 1],
            "FP32",
            "is nested 3 deep, its shape has 2 dimensions",
        ),
        (
            "[[1]]",
            &[1],
            "FP32",
            "is nested 2 deep, its shape has 1 dimensions",
        ),
        (
            "[1,[2]]",
            &[2, 1],
            "FP32",
            "is nested 2 deep, its shape has 2 dimensions",
        ),
        ("[\"1\"]", &[1], "FP32", "has a string among its elements"),
        (
            "[null]",
            &[1],
            "FP32",
            "has null among its elements, which its datatype does not hold",
        ),
        (
            "[true]",
            &[1],
            "INT8",
            "has true among its elements, which its datatype does not hold",
        ),
        (
            "[1.5]",
            &[1],
            "INT8",
            "has 1.5 among its elements, which its datatype does not hold",
        ),
        (
            "[1e2]",
            &[1],
            "INT64",
            "has 1e2 among its elements, which its datatype does not hold",
        ),
        (
            "[-1]",
            &[1],
            "UINT8",
            "has -1 among its elements, which its datatype does not hold",
        ),
        (
            "[1]",
            &[1],
            "BYTES",
            "has 1 among its elements, which its datatype does not hold",
        ),
        (
            "[{\"a\":1}]",
            &[1],
            "FP32",
            "has {\"a\":1} among its elements, which its datatype does not hold",
        ),
        (
            "[1]",
            &[u64::MAX, 2],
            "FP32",
            "its shape has 2^64 elements or more",
        ),
    ];
    for (text, shape, datatype, problem) in table {
        assert_eq!(checked(text, shape, datatype), Err(problem.to_owned()), "{text}");
    }
    assert!(
        Datatype::parse("FP31")
            .unwrap_err()
            .starts_with("\"FP31\" is no datatype, must be one of BOOL, ")
    );
}

fn parts(text: &str, shape: &[u64], rows: &[u64]) -> Vec<String> {
    let parts = cut(&Bytes::from(text.to_owned()), shape, Datatype::Fp32, rows).unwrap();
    parts
        .iter()
        .map(|part| {
            String::from_utf8(part.elements.to_vec())
                .unwrap()
                .trim()
                .to_owned()
        })
        .collect()
}

#[test]
fn cuts_after_rows() {
    assert_eq!(parts("[1,2,3,4,5,6]", &[3, 2], &[1, 2]), ["1,2", "3,4,5,6"]);
    assert_eq!(parts("[ 1 , 2 ]", &[2], &[1, 1]), ["1", "2"]);
    assert_eq!(
        parts("[[1,2],[3,4],[5,6]]", &[3, 2], &[2, 1]),
        ["[1,2],[3,4]", "[5,6]"]
    );
    assert_eq!(
        parts("[[[1,2]],[[3,4]]]", &[2, 1, 2], &[1, 1]),
        ["[[1,2]]", "[[3,4]]"]
    );
    assert_eq!(parts("[]", &[2, 0], &[1, 1]), ["", ""]);
    assert_eq!(parts("[[],[]]", &[2, 0], &[1, 1]), ["[]", "[]"]);
    assert_eq!(parts("[7]", &[1], &[1]), ["7"]);
}

#[test]
fn flattens_without_touching_strings() {
    let mut out = Vec::new();
    flatten(br#"["a]\"[\\"],["b"]"#, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#""a]\"[\\","b""#);
}

#[test]
fn takes_exactly_the_numbers_that_a_datatype_holds() {
    let table = [
        ("UINT8", "255", "256"),
        ("UINT16", "65535", "65536"),
        ("UINT32", "4294967295", "4294967296"),
        ("UINT64", "18446744073709551615", "18446744073709551616"),
        ("INT8", "127", "128"),
        ("INT8", "-128", "-129"),
        ("INT16", "-32768", "-32769"),
        ("INT32", "2147483647", "2147483648"),
        ("INT64", "-9223372036854775808", "-9223372036854775809"),
        // The limits of IEEE 754, halfway from the largest finite value to the next one.
        ("FP16", "65519.99", "65520"),
        ("FP16", "-6.5519e4", "-6.552e4"),
        ("BF16", "3.3961e38", "3.3962e38"),
        ("FP32", "3.4028235e38", "3.4028236e38"),
        (
            "FP32",
            "-340282350000000000000000000000000000000",
            "-340282360000000000000000000000000000000",
        ),
        ("FP32", "1E-400", "1E+39"),
        ("FP64", "1.7976931348623157e308", "1.8e308"),
        ("FP64", "0", "1e999"),
    ];
    for (datatype, held, not_held) in table {
        let data = |number: &str| checked(&format!("[{number}]"), &[1], datatype);
        assert_eq!(data(held), Ok((Layout::Flat, held.to_owned())), "{datatype}");
        assert!(
            data(not_held).is_err_and(|problem| problem.contains("which its datatype does not hold")),
            "{datatype} {not_held}"
        );
    }
}

#[test]
fn takes_escapes_only_where_they_are_unicode() {
    for text in [r#"["\ud83d\uDE00"]"#, r#"["\u00e9\\ud800"]"#, r#"["\uffff\""]"#] {
        assert!(checked(text, &[1], "BYTES").is_ok(), "{text}");
    }
    for text in [
        r#"["\ud83d"]"#,
        r#"["\ude00"]"#,
        r#"["\ud83dx\ude00"]"#,
        r#"["\ud83d\u0041"]"#,
        r#"["\ud83d\ud83d\ude00"]"#,
    ] {
        assert_eq!(
            checked(text, &[1], "BYTES"),
            Err("has half of a surrogate pair among its elements".to_owned()),
            "{text}"
        );
    }
}

#[test]
fn a_runtimes_numbers_are_passed_on_and_may_be_null_where_they_are_floats() {
    assert_eq!(parts("[1,null,1e999,-2]", &[4], &[2, 2]), ["1,null", "1e999,-2"]);
    let cut =
        |text: &'static str, datatype| cut(&Bytes::from(text), &[1], datatype, &[1]).map(|parts| parts.len());
    assert_eq!(cut("[256]", Datatype::Uint8), Ok(1));
    assert!(cut("[null]", Datatype::Int8).is_err() && cut("[null]", Datatype::Bytes).is_err());
}
