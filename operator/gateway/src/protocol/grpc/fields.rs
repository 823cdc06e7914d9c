//! Protocol Buffers as they are on the wire, as far as tensors are concerned.

use super::messages::RAW_INPUT_CONTENTS;

/// Number of `inputs` of a request.
const INPUTS: u32 = 5;
/// Number of `contents` of a tensor.
const CONTENTS: u32 = 5;
/// Most inputs, requested outputs and raw tensors of a request; what is read of them costs far more memory than its bytes.
const TENSORS: usize = 256;
/// Most bytes of a request beside its tensors' data: every shape at its longest, and all the text that a request may have.
const HEAD_LIMIT: usize = 128 << 10;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The fields of a message, in their order. Ends at the first one that is broken.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u32, Value<'a>)> {
        let key = varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).ok()?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => Value::Fixed64(take(&mut self.0)?),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(take(&mut self.0)?),
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self
            .read()
            .ok_or_else(|| "is no message of Protocol Buffers".to_owned());
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn take<const SIZE: usize>(bytes: &mut &[u8]) -> Option<[u8; SIZE]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// A number of at most 64 bits in bytes of 7 bits, lowest first.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        // Of the tenth byte there is place for one bit; readers differ in what they make of others.
        if shift == 63 && *byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Appends a number as [`varint`] reads it.
pub(super) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Appends what stands before the `length` bytes of a field.
pub(in super::super) fn push_field(out: &mut Vec<u8>, number: u32, length: usize) {
    push_varint(out, u64::from(number) << 3 | 2);
    push_varint(out, length as u64);
}

/// Checks that reading a `ModelInferRequest` takes little more memory than its bytes.
///
/// # Errors
/// Says what it has too many of.
pub(in super::super) fn check_size(message: &[u8]) -> Result<(), String> {
    let mut data = 0;
    let (mut inputs, mut raw, mut others) = (0, 0, 0);
    for field in Fields(message) {
        match field? {
            (INPUTS, Value::Bytes(input)) => {
                inputs += 1;
                for field in Fields(input) {
                    if let (CONTENTS, Value::Bytes(contents)) = field? {
                        data += contents.len();
                    }
                }
            }
            (RAW_INPUT_CONTENTS, Value::Bytes(contents)) => {
                raw += 1;
                data += contents.len();
            }
            _ => others += 1,
        }
    }
    if inputs > TENSORS || raw > TENSORS {
        return Err(format!("more than {TENSORS} inputs"));
    }
    let head = message.len() - data;
    if head > HEAD_LIMIT || others > 2 * TENSORS {
        return Err(format!(
            "has {head} bytes beside its tensors' data in {others} fields, at most {HEAD_LIMIT} in {} may be",
            2 * TENSORS
        ));
    }
    Ok(())
}
