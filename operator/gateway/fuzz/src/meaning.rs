//! What an accepted request means to a runtime.

use harmonybatch_gateway::{
    protocol::{self, Addressee, Message, Meter, Wire},
    timer::Timer,
};

use crate::reference::{
    grpc,
    message::Request,
    rest::{self, Bounds},
};

pub(crate) const WIRES: [Wire; 3] = [Wire::Json, Wire::Binary, Wire::Grpc];

const TO: Addressee<'_> = Addressee {
    id: "batch",
    model: "net",
    version: None,
};

/// Asserts that runtimes of every encoding see what the reference has read, of a batch of one and of a batch of two, or nothing where their encoding
/// cannot write it.
pub(crate) fn check(accepted: &protocol::Request, expected: &Request) {
    assert_eq!(accepted.rows() as usize, expected.rows());
    for wire in WIRES {
        let mut converted = accepted.clone();
        let result = converted.convert(wire, &mut meter());
        let fits = expected.inputs.iter().all(|input| input.fits(wire));
        assert_eq!(result.is_ok(), fits, "for {wire}: {result:?}");
        if !fits {
            continue;
        }
        for copies in [1, 2] {
            let message = protocol::merge(&TO, &vec![&converted; copies], wire).unwrap();
            let seen = read(&message, wire);
            let seen = seen.unwrap_or_else(|| unreadable(&message, wire));
            assert_eq!(seen.id.as_deref(), Some(TO.id));
            let expected = expected.split();
            assert_eq!(seen.split(), vec![expected; copies].concat(), "over {wire}");
        }
    }
}

/// A message as a strict runtime reads it.
pub(crate) fn read(message: &Message, wire: Wire) -> Option<Request> {
    let body = message.body.clone().into_bytes();
    let request = match wire {
        Wire::Grpc => grpc::request(grpc::unframed(&body)?),
        Wire::Json | Wire::Binary => rest::request(&body, message.header_length, Bounds::None),
    };
    let is_text = wire == Wire::Json;
    request.filter(|request| request.inputs.iter().all(|input| input.is_text == is_text))
}

#[expect(clippy::panic, reason = "a target fails by panicking")]
fn unreadable(message: &Message, wire: Wire) -> Request {
    let body = message.body.clone().into_bytes();
    panic!("a runtime of {wire} cannot read {}", body.escape_ascii())
}

pub(crate) fn meter() -> Meter {
    Meter::new(Timer::new())
}
