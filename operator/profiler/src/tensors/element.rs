//! One element of a tensor: drawn, and written as JSON text or as raw bytes.

use harmonybatch_api::inference_model::Protocol;
use harmonybatch_protocol::datatype::Datatype;
use harmonybatch_protocol::raw;
use serde_json::Value;

/// Random whole numbers are below this, which fits every type and, in most cases, a vocabulary.
const INTEGERS: u32 = 100;
/// Letters of a random string.
const LETTERS: usize = 16;

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As JSON, with commas between.
    Text,
    /// As the protocol's raw elements, little-endian.
    Raw,
}

impl Form {
    pub(super) fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::OipV2Json => Self::Text,
            Protocol::OipV2Binary | Protocol::OipV2Grpc => Self::Raw,
        }
    }

    /// JSON has no halves.
    pub(super) fn carries(self, datatype: Datatype) -> bool {
        self == Self::Raw || !matches!(datatype, Datatype::Fp16 | Datatype::Bf16)
    }
}

/// A number in [0, 1), a whole one below 100, a boolean, or a string of 16 letters.
pub(super) fn random(datatype: Datatype, random: &mut fastrand::Rng) -> Value {
    match datatype {
        Datatype::Bool => random.bool().into(),
        Datatype::Bytes => {
            let letters: String = (0..LETTERS).map(|_| random.lowercase()).collect();
            letters.into()
        }
        // To six places, which is what their text is long for.
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
            ((f64::from(random.f32()) * 1e6).floor() / 1e6).into()
        }
        _ => random.u32(..INTEGERS).into(),
    }
}

/// Appends an element to those of its row.
///
/// # Errors
/// What the datatype does not hold.
pub(super) fn push(out: &mut Vec<u8>, value: &Value, datatype: Datatype, form: Form) -> Result<(), String> {
    match form {
        Form::Text => {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(value.to_string().as_bytes());
            Ok(())
        }
        Form::Raw => push_raw(out, value, datatype),
    }
}

fn push_raw(out: &mut Vec<u8>, value: &Value, datatype: Datatype) -> Result<(), String> {
    let bytes = match datatype {
        Datatype::Bytes => {
            let text = value.as_str().ok_or_else(|| wrong(value, datatype))?;
            return raw::push_element(out, text.as_bytes());
        }
        Datatype::Bool => value.as_bool().map(|flag| vec![u8::from(flag)]),
        Datatype::Int8 => whole::<i8>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Int16 => whole::<i16>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Int32 => whole::<i32>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Int64 => whole::<i64>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Uint8 => whole::<u8>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Uint16 => whole::<u16>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Uint32 => whole::<u32>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Uint64 => whole::<u64>(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Fp16 => single(value)
            .and_then(half)
            .map(|bits| bits.to_le_bytes().to_vec()),
        Datatype::Bf16 => single(value)
            .and_then(brain)
            .map(|bits| bits.to_le_bytes().to_vec()),
        Datatype::Fp32 => single(value).map(|number| number.to_le_bytes().to_vec()),
        Datatype::Fp64 => value.as_f64().map(|number| number.to_le_bytes().to_vec()),
    };
    out.extend(bytes.ok_or_else(|| wrong(value, datatype))?);
    Ok(())
}

fn wrong(value: &Value, datatype: Datatype) -> String {
    format!(
        "has {value} among its elements, which {} does not hold",
        datatype.name()
    )
}

/// A whole number, if the type holds it.
fn whole<T: TryFrom<i64> + TryFrom<u64>>(value: &Value) -> Option<T> {
    let signed = value.as_i64().and_then(|number| T::try_from(number).ok());
    signed.or_else(|| T::try_from(value.as_u64()?).ok())
}

/// The nearest single, if there is one.
fn single(value: &Value) -> Option<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "the nearest number is meant")]
    let nearest = value.as_f64()? as f32;
    nearest.is_finite().then_some(nearest)
}

/// The nearest half (IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction), even ones where two are as near; none past the largest.
fn half(number: f32) -> Option<u16> {
    /// What the exponents' offsets differ by: 127 - 15.
    const REBASE: u32 = 112 << 23;
    /// 2^-14, the smallest that is not subnormal.
    const NORMAL: u32 = 113 << 23;
    /// 65520, from which on the nearest one would be past 65504.
    const TOO_LARGE: u32 = 0x477f_f000;
    let (sign, magnitude) = (number.to_bits() >> 31, number.to_bits() & 0x7fff_ffff);
    let bits = if magnitude >= TOO_LARGE {
        return None;
    } else if magnitude >= NORMAL {
        (magnitude - REBASE + 0xfff + (magnitude >> 13 & 1)) >> 13
    } else {
        // Multiples of 2^-24, to which the number is scaled without an error.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1024"
        )]
        let multiple = (f32::from_bits(magnitude) * 16_777_216.0).round_ties_even() as u32;
        multiple
    };
    u16::try_from(sign << 15 | bits).ok()
}

/// The nearest bfloat16, the upper half of a single; none past the largest.
fn brain(number: f32) -> Option<u16> {
    let bits = number.to_bits();
    let rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    u16::try_from(rounded)
        .ok()
        .filter(|rounded| rounded & 0x7f80 != 0x7f80)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn raw(value: &Value, datatype: Datatype) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        push(&mut out, value, datatype, Form::Raw).map(|()| out)
    }

    #[test]
    fn raw_elements_are_little_endian_and_hold_what_their_type_holds() {
        let table: [(Value, Datatype, &[u8]); 9] = [
            (json!(true), Datatype::Bool, &[1]),
            (json!(-2), Datatype::Int16, &[0xfe, 0xff]),
            (json!(258), Datatype::Uint32, &[2, 1, 0, 0]),
            (json!(u64::MAX), Datatype::Uint64, &[0xff; 8]),
            (json!(1), Datatype::Fp32, &[0, 0, 0x80, 0x3f]),
            (json!(-2.0), Datatype::Fp64, &[0, 0, 0, 0, 0, 0, 0, 0xc0]),
            (json!(1.5), Datatype::Fp16, &[0x00, 0x3e]),
            (json!(1.5), Datatype::Bf16, &[0xc0, 0x3f]),
            (json!("ab"), Datatype::Bytes, b"\x02\0\0\0ab"),
        ];
        for (value, datatype, bytes) in table {
            assert_eq!(raw(&value, datatype).unwrap(), bytes, "{value} {datatype:?}");
        }
        for (value, datatype) in [
            (json!(128), Datatype::Int8),
            (json!(-1), Datatype::Uint64),
            (json!(1.5), Datatype::Int32),
            (json!("1"), Datatype::Fp32),
            (json!(1e39), Datatype::Fp32),
            (json!(65520), Datatype::Fp16),
            (json!(3.4e38), Datatype::Bf16),
            (json!(1), Datatype::Bool),
            (json!(1), Datatype::Bytes),
        ] {
            let told = raw(&value, datatype).unwrap_err();
            assert_eq!(
                told,
                format!(
                    "has {value} among its elements, which {} does not hold",
                    datatype.name()
                )
            );
        }
    }

    /// By the definition of binary16.
    fn meaning(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-24),
            _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    #[test]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "every half and every middle of two is a single"
    )]
    fn a_half_is_the_nearest_one_and_the_even_one_of_two() {
        for bits in 0..0x7c00_u16 {
            let number = meaning(bits);
            assert_eq!(half(number as f32), Some(bits));
            assert_eq!(half(-number as f32), Some(bits | 0x8000));
            if bits < 0x7bff {
                let middle = f64::midpoint(number, meaning(bits + 1)) as f32;
                assert_eq!(half(middle), Some(bits + (bits & 1)), "{middle}");
                assert_eq!(half(middle.next_down()), Some(bits));
                assert_eq!(half(middle.next_up()), Some(bits + 1));
            }
        }
    }
}
