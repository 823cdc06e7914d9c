//! Elements as JSON text turned into raw bytes, and back.
//!
//! A number that is read from text is the nearest that its datatype has; text that is made of a number is the shortest that reads back as the same
//! number.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use bytes::Bytes;
use serde::Serialize;

use super::{datatype::Datatype, raw, text};

/// Raw elements of checked text: what stands between the outer brackets, flat or nested. What a runtime wrote as `null` is not a number.
///
/// # Errors
/// Names an element that the datatype does not hold.
pub(super) fn raw(text: &[u8], datatype: Datatype) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(text.len());
    match datatype {
        Datatype::Bool => {
            for token in Tokens(text) {
                out.push(u8::from(matches!(token, b"true" | b"1")));
            }
        }
        Datatype::Uint8 => numbers::<u8, 1>(text, datatype, u8::to_le_bytes, &mut out)?,
        Datatype::Uint16 => numbers::<u16, 2>(text, datatype, u16::to_le_bytes, &mut out)?,
        Datatype::Uint32 => numbers::<u32, 4>(text, datatype, u32::to_le_bytes, &mut out)?,
        Datatype::Uint64 => numbers::<u64, 8>(text, datatype, u64::to_le_bytes, &mut out)?,
        Datatype::Int8 => numbers::<i8, 1>(text, datatype, i8::to_le_bytes, &mut out)?,
        Datatype::Int16 => numbers::<i16, 2>(text, datatype, i16::to_le_bytes, &mut out)?,
        Datatype::Int32 => numbers::<i32, 4>(text, datatype, i32::to_le_bytes, &mut out)?,
        Datatype::Int64 => numbers::<i64, 8>(text, datatype, i64::to_le_bytes, &mut out)?,
        Datatype::Fp32 => floats::<f32, 4>(text, datatype, f32::NAN, f32::to_le_bytes, &mut out)?,
        Datatype::Fp64 => floats::<f64, 8>(text, datatype, f64::NAN, f64::to_le_bytes, &mut out)?,
        Datatype::Fp16 | Datatype::Bf16 => return Err(without_text(datatype)),
        Datatype::Bytes => {
            for token in Tokens(text) {
                raw::push_element(&mut out, unescaped(token)?.as_bytes())?;
            }
        }
    }
    Ok(out.into())
}

/// Flat text of checked raw elements, without the outer brackets.
///
/// # Errors
/// Names an element that JSON cannot write.
pub(super) fn text(raw: &[u8], datatype: Datatype) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(raw.len().saturating_mul(2));
    match datatype {
        Datatype::Bool => {
            for byte in raw {
                push(&mut out, &(*byte != 0))?;
            }
        }
        Datatype::Uint8 => write::<u8, 1>(raw, u8::from_le_bytes, &mut out)?,
        Datatype::Uint16 => write::<u16, 2>(raw, u16::from_le_bytes, &mut out)?,
        Datatype::Uint32 => write::<u32, 4>(raw, u32::from_le_bytes, &mut out)?,
        Datatype::Uint64 => write::<u64, 8>(raw, u64::from_le_bytes, &mut out)?,
        Datatype::Int8 => write::<i8, 1>(raw, i8::from_le_bytes, &mut out)?,
        Datatype::Int16 => write::<i16, 2>(raw, i16::from_le_bytes, &mut out)?,
        Datatype::Int32 => write::<i32, 4>(raw, i32::from_le_bytes, &mut out)?,
        Datatype::Int64 => write::<i64, 8>(raw, i64::from_le_bytes, &mut out)?,
        Datatype::Fp32 => {
            finite(raw, f32::from_le_bytes, f32::is_finite)?;
            write::<f32, 4>(raw, f32::from_le_bytes, &mut out)?;
        }
        Datatype::Fp64 => {
            finite(raw, f64::from_le_bytes, f64::is_finite)?;
            write::<f64, 8>(raw, f64::from_le_bytes, &mut out)?;
        }
        Datatype::Fp16 | Datatype::Bf16 => return Err(without_text(datatype)),
        Datatype::Bytes => {
            for (index, element) in raw::Elements::new(raw).enumerate() {
                let text = str::from_utf8(element?);
                let text = text.map_err(|_| {
                    format!("has an element {index} that is not UTF-8, which JSON cannot write: use binary tensors or gRPC")
                })?;
                push(&mut out, text)?;
            }
        }
    }
    Ok(out.into())
}

fn without_text(datatype: Datatype) -> String {
    let name = datatype.name();
    format!("is {name}, which the protocol has only as raw bytes: use binary tensors or gRPC on both sides")
}

fn numbers<T: FromStr, const SIZE: usize>(
    text: &[u8],
    datatype: Datatype,
    bytes: fn(T) -> [u8; SIZE],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    for token in Tokens(text) {
        let number = text::number::<T>(token).ok_or_else(|| not_held(token, datatype))?;
        out.extend_from_slice(&bytes(number));
    }
    Ok(())
}

fn floats<T: FromStr + Copy + Into<f64>, const SIZE: usize>(
    text: &[u8],
    datatype: Datatype,
    nan: T,
    bytes: fn(T) -> [u8; SIZE],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    for token in Tokens(text) {
        let number = match token {
            b"null" => nan,
            token => text::number::<T>(token)
                .filter(|number| (*number).into().is_finite())
                .ok_or_else(|| not_held(token, datatype))?,
        };
        out.extend_from_slice(&bytes(number));
    }
    Ok(())
}

fn not_held(token: &[u8], datatype: Datatype) -> String {
    let shown = String::from_utf8_lossy(&token[..token.len().min(24)]);
    format!(
        "has {shown} among its elements, which {} does not hold",
        datatype.name()
    )
}

fn finite<T: Display + Copy, const SIZE: usize>(
    raw: &[u8],
    number: fn([u8; SIZE]) -> T,
    is_finite: fn(T) -> bool,
) -> Result<(), String> {
    let mut numbers = raw
        .as_chunks::<SIZE>()
        .0
        .iter()
        .map(|bytes| number(*bytes))
        .enumerate();
    numbers
        .find(|(_, number)| !is_finite(*number))
        .map_or(Ok(()), |(index, number)| {
            Err(format!(
                "has {number} as element {index}, which JSON cannot write: use binary tensors or gRPC"
            ))
        })
}

fn write<T: Serialize, const SIZE: usize>(
    raw: &[u8],
    number: fn([u8; SIZE]) -> T,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let (numbers, _) = raw.as_chunks::<SIZE>();
    numbers.iter().try_for_each(|bytes| push(out, &number(*bytes)))
}

/// Appends an element and the comma before it.
fn push<T: Serialize + ?Sized>(out: &mut Vec<u8>, element: &T) -> Result<(), String> {
    if !out.is_empty() {
        out.push(b',');
    }
    serde_json::to_writer(out, element).map_err(|error| error.to_string())
}

/// What a JSON string says.
pub(super) fn unescaped(token: &[u8]) -> Result<Cow<'_, str>, String> {
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains(&b'\\') {
        return serde_json::from_slice(token)
            .map(Cow::Owned)
            .map_err(|error| error.to_string());
    }
    str::from_utf8(inner)
        .map(Cow::Borrowed)
        .map_err(|error| error.to_string())
}

/// The elements of checked text, without brackets, commas and white space.
struct Tokens<'a>(&'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let is_between = |byte: &u8| matches!(byte, b',' | b'[' | b']') || byte.is_ascii_whitespace();
        let start = self.0.iter().position(|byte| !is_between(byte))?;
        let rest = &self.0[start..];
        let end = if rest[0] == b'"' {
            text::string(rest).unwrap_or(rest.len())
        } else {
            rest.iter().position(is_between).unwrap_or(rest.len())
        };
        let (token, rest) = rest.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests;
