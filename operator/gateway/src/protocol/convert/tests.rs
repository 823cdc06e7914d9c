#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn to_raw(elements: &str, datatype: Datatype) -> Result<Vec<u8>, String> {
    raw(elements.as_bytes(), datatype).map(|raw| raw.to_vec())
}

fn to_text(raw: &[u8], datatype: Datatype) -> Result<String, String> {
    text(raw, datatype).map(|text| String::from_utf8(text.to_vec()).unwrap())
}

#[test]
fn text_becomes_the_elements_that_it_says() {
    let table: [(&str, Datatype, &[u8]); 9] = [
        ("true,false,1,0", Datatype::Bool, &[1, 0, 1, 0]),
        ("[1, 2],\n[3]", Datatype::Uint8, &[1, 2, 3]),
        ("-1,258", Datatype::Int16, &[0xff, 0xff, 2, 1]),
        (
            "-9223372036854775808",
            Datatype::Int64,
            &[0, 0, 0, 0, 0, 0, 0, 0x80],
        ),
        ("1.5,-0", Datatype::Fp32, &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80]),
        ("1e-46", Datatype::Fp32, &[0, 0, 0, 0]),
        ("null", Datatype::Fp32, &[0, 0, 0xc0, 0x7f]),
        (
            r#""a","","\u00e9]""#,
            Datatype::Bytes,
            b"\x01\0\0\0a\0\0\0\0\x03\0\0\0\xc3\xa9]",
        ),
        (r#"["\"\\"]"#, Datatype::Bytes, b"\x02\0\0\0\"\\"),
    ];
    for (elements, datatype, expected) in table {
        assert_eq!(to_raw(elements, datatype), Ok(expected.to_vec()), "{elements}");
    }
}

#[test]
fn elements_become_the_shortest_text() {
    let floats: Vec<u8> = [0.1_f32, 1.0, -0.0, f32::MAX, f32::MIN_POSITIVE, 16_777_216.0]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    let text = to_text(&floats, Datatype::Fp32).unwrap();
    assert_eq!(text, "0.1,1.0,-0.0,3.4028235e+38,1.1754944e-38,16777216.0");
    assert_eq!(to_text(&[0, 1, 7], Datatype::Bool).unwrap(), "false,true,true");
    assert_eq!(to_text(&0.1_f64.to_le_bytes(), Datatype::Fp64).unwrap(), "0.1");
    assert_eq!(
        to_text(b"\x03\0\0\0\"\n\x01\0\0\0\0", Datatype::Bytes).unwrap(),
        r#""\"\n\u0001","#.to_owned() + "\"\""
    );
}

#[test]
fn says_which_element_an_encoding_cannot_write() {
    let halves = to_text(&[0, 0], Datatype::Fp16).unwrap_err();
    assert!(
        halves.starts_with("is FP16, which the protocol has only as raw bytes"),
        "{halves}"
    );
    assert!(to_raw("1.0", Datatype::Bf16).unwrap_err().starts_with("is BF16"));
    let nan: Vec<u8> = [1.0, f32::NAN].into_iter().flat_map(f32::to_le_bytes).collect();
    let nan = to_text(&nan, Datatype::Fp32).unwrap_err();
    assert!(
        nan.starts_with("has NaN as element 1, which JSON cannot write"),
        "{nan}"
    );
    let infinite = to_text(&f64::NEG_INFINITY.to_le_bytes(), Datatype::Fp64).unwrap_err();
    assert!(infinite.starts_with("has -inf as element 0"), "{infinite}");
    let no_text = to_text(b"\x01\0\0\0a\x01\0\0\0\xff", Datatype::Bytes).unwrap_err();
    assert!(
        no_text.starts_with("has an element 1 that is not UTF-8"),
        "{no_text}"
    );
    // A runtime's numbers are not checked before.
    for (elements, datatype, says) in [
        (
            "1,256",
            Datatype::Uint8,
            "has 256 among its elements, which UINT8 does not hold",
        ),
        (
            "4e38",
            Datatype::Fp32,
            "has 4e38 among its elements, which FP32 does not hold",
        ),
        (
            "1e999",
            Datatype::Fp64,
            "has 1e999 among its elements, which FP64 does not hold",
        ),
    ] {
        assert_eq!(to_raw(elements, datatype), Err(says.to_owned()));
    }
}
