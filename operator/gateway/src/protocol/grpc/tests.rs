#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[test]
fn typed_contents_that_are_no_elements_of_the_datatype_are_refused() {
    use super::super::datatype::Datatype;
    let table: [(&[u8], Datatype, &str); 9] = [
        (
            &[0x12, 2, 0x80, 2],
            Datatype::Int8,
            "has 256 among its elements, which INT8 does not hold",
        ),
        (
            &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            Datatype::Uint8,
            "has field 2, UINT8 has uint_contents (4)",
        ),
        (
            &[0x20, 0x80, 2],
            Datatype::Uint8,
            "has 256 among its elements, which UINT8 does not hold",
        ),
        (&[0x32, 3, 0, 0, 0], Datatype::Fp32, "is no list of FP32"),
        (
            &[0x32, 4, 0, 0, 0, 0],
            Datatype::Fp64,
            "has field 6, FP64 has fp64_contents (7)",
        ),
        (
            &[0x42, 4, 0],
            Datatype::Bytes,
            "is no message of Protocol Buffers",
        ),
        (&[0x0b], Datatype::Bool, "is no message of Protocol Buffers"),
        // More than 64 bits.
        (
            &[0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2],
            Datatype::Int64,
            "is no message of Protocol Buffers",
        ),
        (
            &[],
            Datatype::Fp16,
            "is FP16, which has no typed contents: use raw contents",
        ),
    ];
    for (contents, datatype, says) in table {
        assert_eq!(contents::to_raw(contents, datatype), Err(says.to_owned()));
    }
    // Not packed, and an empty list of another type beside it.
    assert_eq!(
        contents::to_raw(&[0x18, 1, 0x18, 2, 0x0a, 0], Datatype::Int64)
            .unwrap()
            .len(),
        16
    );
    assert_eq!(
        contents::to_raw(
            &[0x12, 10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            Datatype::Int16
        )
        .unwrap(),
        &[0xff, 0xff][..]
    );
}

#[test]
fn a_message_that_would_cost_more_than_its_bytes_is_refused() {
    assert_eq!(
        check_size(&[0x2a, 0].repeat(257)),
        Err("more than 256 inputs".to_owned())
    );
    assert_eq!(
        check_size(&[0x3a, 0].repeat(257)),
        Err("more than 256 inputs".to_owned())
    );
    assert!(
        check_size(&[0x32, 0].repeat(513))
            .unwrap_err()
            .starts_with("has 1026 bytes beside its tensors' data in 513 fields")
    );
    let mut long = Vec::new();
    push_field(&mut long, 3, 200_000);
    long.resize(200_004, b'x');
    assert!(
        check_size(&long)
            .unwrap_err()
            .starts_with("has 200004 bytes beside its tensors' data")
    );
    let mut data = Vec::new();
    push_field(&mut data, 7, 200_000);
    data.resize(200_004, 0);
    assert_eq!(check_size(&data), Ok(()));
    assert_eq!(
        check_size(&[0x2a, 3, 0]),
        Err("is no message of Protocol Buffers".to_owned())
    );
}
