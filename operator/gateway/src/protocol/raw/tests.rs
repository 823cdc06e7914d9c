#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[test]
fn sizes_must_be_exactly_what_shape_and_datatype_say() {
    let table: [(&[u8], &[u64], Datatype, &str); 9] = [
        (
            &[0; 7],
            &[2],
            Datatype::Fp32,
            "has 7 bytes, 2 elements of FP32 have 8",
        ),
        (
            &[0; 9],
            &[2],
            Datatype::Fp32,
            "has 9 bytes, 2 elements of FP32 have 8",
        ),
        (
            &[],
            &[1],
            Datatype::Fp16,
            "has 0 bytes, 1 elements of FP16 have 2",
        ),
        (
            &[0; 8],
            &[1 << 61, 1],
            Datatype::Int64,
            "its shape has 2^64 bytes or more",
        ),
        (
            &[0; 8],
            &[1 << 63, 2],
            Datatype::Int8,
            "its shape has 2^64 elements or more",
        ),
        (
            &[0, 2],
            &[2],
            Datatype::Bool,
            "has the byte 2 among its elements, BOOL has 0 and 1",
        ),
        (
            b"\x01\0\0\0a\x01\0",
            &[2],
            Datatype::Bytes,
            "ends with 2 bytes where the length of element 1 has 4",
        ),
        (
            b"\x02\0\0\0a",
            &[1],
            Datatype::Bytes,
            "says that element 0 has 2 bytes, 1 are left",
        ),
        (
            b"\0\0\0\0",
            &[2],
            Datatype::Bytes,
            "has 1 elements, its shape says 2",
        ),
    ];
    for (raw, shape, datatype, says) in table {
        assert_eq!(check(raw, shape, datatype, Author::Caller), Err(says.to_owned()));
    }
    assert_eq!(
        check(b"\xff\xff\xff\xff", &[1], Datatype::Bytes, Author::Caller).unwrap_err(),
        "says that element 0 has 4294967295 bytes, 0 are left"
    );
    assert_eq!(check(&[2], &[1], Datatype::Bool, Author::Runtime), Ok(()));
}

#[test]
fn a_size_of_0_says_no_elements_in_whichever_order() {
    for shape in [
        [2, 1 << 40, 1 << 40, 0],
        [2, 0, 1 << 40, 1 << 40],
        [0, 1 << 40, 1 << 40, 1 << 40],
    ] {
        assert_eq!(
            check(&[], &shape, Datatype::Fp32, Author::Runtime),
            Ok(()),
            "{shape:?}"
        );
    }
}

#[test]
fn cuts_after_rows_without_copies() {
    let raw = Bytes::from_static(&[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
    let parts = cut(&raw, &[3, 2], Datatype::Int16, &[1, 2]).unwrap();
    assert_eq!(parts, [&raw[..4], &raw[4..]]);
    assert_eq!(parts[1].as_ptr(), raw[4..].as_ptr());
    let raw = Bytes::from_static(b"\x01\0\0\0a\0\0\0\0\x02\0\0\0bc");
    assert_eq!(
        cut(&raw, &[3], Datatype::Bytes, &[2, 1]).unwrap(),
        [&raw[..9], &raw[9..]]
    );
    assert_eq!(
        cut(&Bytes::new(), &[2, 0], Datatype::Fp32, &[1, 1]).unwrap(),
        [Bytes::new(), Bytes::new()]
    );
}
