//! `InferTensorContents`: elements in the field of their type, read into raw elements and written from them.

use bytes::{BufMut as _, Bytes};

use super::{
    super::{datatype::Datatype, raw},
    fields::{Fields, Value, push_field, push_varint, varint},
};

/// The field of a datatype: its number and name.
fn field(datatype: Datatype) -> Option<(u32, &'static str)> {
    Some(match datatype {
        Datatype::Bool => (1, "bool_contents"),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => (2, "int_contents"),
        Datatype::Int64 => (3, "int64_contents"),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => (4, "uint_contents"),
        Datatype::Uint64 => (5, "uint64_contents"),
        Datatype::Fp32 => (6, "fp32_contents"),
        Datatype::Fp64 => (7, "fp64_contents"),
        Datatype::Bytes => (8, "bytes_contents"),
        Datatype::Fp16 | Datatype::Bf16 => return None,
    })
}

/// Whether a datatype has typed contents.
pub(in super::super) fn is_typed(datatype: Datatype) -> bool {
    field(datatype).is_some()
}

fn untyped(datatype: Datatype) -> String {
    format!(
        "is {}, which has no typed contents: use raw contents",
        datatype.name()
    )
}

/// The raw elements of typed contents. How many there are is not checked.
///
/// # Errors
/// Where they are in another field, or do not fit their datatype.
pub(in super::super) fn to_raw(contents: &[u8], datatype: Datatype) -> Result<Bytes, String> {
    let (own, name) = field(datatype).ok_or_else(|| untyped(datatype))?;
    let mut out = Vec::with_capacity(contents.len());
    for found in Fields(contents) {
        let (number, value) = found?;
        if number != own {
            // An empty list of another type is as good as none.
            if value == Value::Bytes(&[]) && (1..8).contains(&number) {
                continue;
            }
            return Err(format!(
                "has field {number}, {} has {name} ({own})",
                datatype.name()
            ));
        }
        element(&mut out, value, datatype)?;
    }
    Ok(out.into())
}

/// One field: an element, or several that are packed.
fn element(out: &mut Vec<u8>, value: Value<'_>, datatype: Datatype) -> Result<(), String> {
    let broken = || format!("is no list of {}", datatype.name());
    match (datatype, value) {
        (Datatype::Bytes, Value::Bytes(element)) => return raw::push_element(out, element),
        (Datatype::Fp32, Value::Fixed32(number)) => out.extend_from_slice(&number),
        (Datatype::Fp64, Value::Fixed64(number)) => out.extend_from_slice(&number),
        // Packed floats are raw elements.
        (Datatype::Fp32, Value::Bytes(packed)) if packed.len() % 4 == 0 => out.extend_from_slice(packed),
        (Datatype::Fp64, Value::Bytes(packed)) if packed.len() % 8 == 0 => out.extend_from_slice(packed),
        (Datatype::Fp32 | Datatype::Fp64 | Datatype::Bytes, _) => return Err(broken()),
        (_, Value::Varint(number)) => whole(out, number, datatype)?,
        (_, Value::Bytes(mut packed)) => {
            while !packed.is_empty() {
                whole(out, varint(&mut packed).ok_or_else(broken)?, datatype)?;
            }
        }
        _ => return Err(broken()),
    }
    Ok(())
}

/// A whole number or a boolean, as the wire has it.
fn whole(out: &mut Vec<u8>, number: u64, datatype: Datatype) -> Result<(), String> {
    let signed = number.cast_signed();
    let fits = match datatype {
        Datatype::Bool => {
            out.put_u8(u8::from(number != 0));
            true
        }
        Datatype::Int8 => i8::try_from(signed).map(|number| out.put_i8(number)).is_ok(),
        Datatype::Int16 => i16::try_from(signed).map(|number| out.put_i16_le(number)).is_ok(),
        Datatype::Int32 => i32::try_from(signed).map(|number| out.put_i32_le(number)).is_ok(),
        Datatype::Uint8 => u8::try_from(number).map(|number| out.put_u8(number)).is_ok(),
        Datatype::Uint16 => u16::try_from(number).map(|number| out.put_u16_le(number)).is_ok(),
        Datatype::Uint32 => u32::try_from(number).map(|number| out.put_u32_le(number)).is_ok(),
        _ => {
            out.put_u64_le(number);
            true
        }
    };
    if fits {
        return Ok(());
    }
    let is_signed = matches!(datatype, Datatype::Int8 | Datatype::Int16 | Datatype::Int32);
    let shown = if is_signed {
        signed.to_string()
    } else {
        number.to_string()
    };
    Err(format!(
        "has {shown} among its elements, which {} does not hold",
        datatype.name()
    ))
}

/// Typed contents of checked raw elements.
///
/// # Errors
/// Where the datatype has none.
pub(in super::super) fn from_raw(raw: &[u8], datatype: Datatype) -> Result<Bytes, String> {
    let (number, _) = field(datatype).ok_or_else(|| untyped(datatype))?;
    let mut out = Vec::with_capacity(raw.len() + 16);
    if datatype == Datatype::Bytes {
        for element in raw::Elements::new(raw) {
            let element = element?;
            push_field(&mut out, number, element.len());
            out.extend_from_slice(element);
        }
        return Ok(out.into());
    }
    if raw.is_empty() {
        return Ok(Bytes::new());
    }
    let packed = match datatype {
        Datatype::Int8 => varints::<1>(raw, |bytes| i64::from(i8::from_le_bytes(bytes)).cast_unsigned()),
        Datatype::Int16 => varints::<2>(raw, |bytes| i64::from(i16::from_le_bytes(bytes)).cast_unsigned()),
        Datatype::Int32 => varints::<4>(raw, |bytes| i64::from(i32::from_le_bytes(bytes)).cast_unsigned()),
        Datatype::Uint8 => varints::<1>(raw, |bytes| u64::from(u8::from_le_bytes(bytes))),
        Datatype::Uint16 => varints::<2>(raw, |bytes| u64::from(u16::from_le_bytes(bytes))),
        Datatype::Uint32 => varints::<4>(raw, |bytes| u64::from(u32::from_le_bytes(bytes))),
        Datatype::Int64 | Datatype::Uint64 => varints::<8>(raw, u64::from_le_bytes),
        Datatype::Bool => varints::<1>(raw, |[byte]| u64::from(byte != 0)),
        _ => {
            push_field(&mut out, number, raw.len());
            out.extend_from_slice(raw);
            return Ok(out.into());
        }
    };
    push_field(&mut out, number, packed.len());
    out.extend_from_slice(&packed);
    Ok(out.into())
}

fn varints<const SIZE: usize>(raw: &[u8], number: fn([u8; SIZE]) -> u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    for bytes in raw.as_chunks::<SIZE>().0 {
        push_varint(&mut out, number(*bytes));
    }
    out
}
