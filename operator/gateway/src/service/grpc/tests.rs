#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn headers(name: &'static str, value: &str) -> HeaderMap {
    [(name.parse().unwrap(), value.parse().unwrap())]
        .into_iter()
        .collect()
}

#[test]
fn reads_how_long_a_caller_waits() {
    let table = [
        ("2H", 7200.0),
        ("1M", 60.0),
        ("99999999S", 99_999_999.0),
        ("250m", 0.25),
        ("10u", 0.000_01),
        ("0n", 0.0),
    ];
    for (text, seconds) in table {
        assert_eq!(
            timeout(&headers(TIMEOUT, text)),
            Ok(Some(Duration::from_secs_f64(seconds))),
            "{text}"
        );
    }
    for text in ["", "S", "5", "5s", "123456789S", "-1S", "+1S", "1.5S"] {
        let error = timeout(&headers(TIMEOUT, text)).unwrap_err();
        assert_eq!(
            error.message,
            "grpc-timeout: must be up to 8 digits and one of H M S m u n"
        );
    }
    assert_eq!(timeout(&HeaderMap::new()), Ok(None));
}

#[test]
fn tells_calls_by_their_content() {
    for (text, is) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        assert_eq!(is_call(&headers("content-type", text)), is, "{text}");
    }
}

#[test]
fn an_application_is_named_with_its_namespace() {
    assert_eq!(
        app(&headers(APP_HEADER, "shop/search")),
        Ok(Some(("shop", "search")))
    );
    assert!(app(&headers(APP_HEADER, "search")).is_err());
    assert_eq!(app(&HeaderMap::new()), Ok(None));
}
