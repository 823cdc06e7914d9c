//! A tensor's `data` as text: checked, stripped and cut by rows; a number is read only to see whether its datatype holds it.
//!
//! The text is known to be JSON. Both of the protocol's forms are taken: flat (all elements in one array, row-major) and nested (arrays in arrays
//! as the shape says).

mod plain;

use std::str::FromStr;

use bytes::Bytes;

use super::{
    datatype::{self, Datatype, elements_per_row},
    tensor::Author,
};

/// Datatypes as far as their elements differ in JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    Bool,
    /// Up to this.
    Unsigned(u64),
    /// From one less than its negative up to this.
    Signed(i64),
    Float(Float),
    Bytes,
}

/// What a floating-point datatype holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Float {
    /// Magnitudes from here on are rounded to infinity: the largest finite value and half of its last place.
    overflow: f64,
    /// A number without an exponent that has no more characters than this before its point is surely below.
    safe_digits: usize,
}

const TWO_POW_127: f64 = 1.701_411_834_604_692_3e38;

const fn float(overflow: f64, safe_digits: usize) -> Element {
    Element::Float(Float {
        overflow,
        safe_digits,
    })
}

fn element(datatype: Datatype) -> Element {
    match datatype {
        Datatype::Bool => Element::Bool,
        Datatype::Uint8 => Element::Unsigned(0xff),
        Datatype::Uint16 => Element::Unsigned(0xffff),
        Datatype::Uint32 => Element::Unsigned(0xffff_ffff),
        Datatype::Uint64 => Element::Unsigned(u64::MAX),
        Datatype::Int8 => Element::Signed(0x7f),
        Datatype::Int16 => Element::Signed(0x7fff),
        Datatype::Int32 => Element::Signed(0x7fff_ffff),
        Datatype::Int64 => Element::Signed(i64::MAX),
        Datatype::Fp16 => float(65_520.0, 4),
        Datatype::Bf16 => float((2.0 - 1.0 / 256.0) * TWO_POW_127, 38),
        Datatype::Fp32 => float((2.0 - 1.0 / 16_777_216.0) * TWO_POW_127, 38),
        Datatype::Fp64 => float(f64::INFINITY, 308),
        Datatype::Bytes => Element::Bytes,
    }
}

/// How `data` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Flat,
    Nested,
}

/// `data` of a tensor: what stands between its outer brackets, still text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) layout: Layout,
    pub(super) elements: Bytes,
}

impl Text {
    /// Elements in one array.
    pub(super) fn flat(elements: Bytes) -> Self {
        Self {
            layout: Layout::Flat,
            elements,
        }
    }

    /// Appends the elements as a flat array has them.
    pub(super) fn push_flat(&self, out: &mut Vec<u8>) {
        match self.layout {
            Layout::Flat => out.extend_from_slice(&self.elements),
            Layout::Nested => flatten(&self.elements, out),
        }
    }
}

/// Checks `data` against shape and datatype.
pub(super) fn check(text: &Bytes, shape: &[u64], datatype: Datatype) -> Result<Text, String> {
    let mut cuts = |_: usize| {};
    scan(text, shape, (element(datatype), Author::Caller), &[], &mut cuts)
}

/// Cuts `data` after each of `rows`: as many parts, in order, each without brackets.
pub(super) fn cut(
    text: &Bytes,
    shape: &[u64],
    datatype: Datatype,
    rows: &[u64],
) -> Result<Vec<Text>, String> {
    let mut ends = Vec::with_capacity(rows.len());
    let mut total = 0;
    let boundaries: Vec<u64> = rows
        .iter()
        .map(|rows| {
            total += rows;
            total
        })
        .collect();
    let elements = (element(datatype), Author::Runtime);
    let data = scan(text, shape, elements, &boundaries, &mut |end| {
        ends.push(end);
    })?;
    let base = text.as_ptr() as usize;
    let last = data.elements.as_ptr() as usize - base + data.elements.len();
    ends.resize(rows.len(), last);
    let mut start = data.elements.as_ptr() as usize - base;
    let parts = ends.iter().map(|end| {
        let part = text.slice(start.min(*end)..*end);
        // The comma behind a part belongs to none.
        start = (end + 1).min(last);
        Text {
            layout: data.layout,
            elements: part,
        }
    });
    Ok(parts.collect())
}

/// Reads the text. `cut` is called with the position of the comma behind each of the row counts in `boundaries`, but for the last row.
fn scan(
    text: &Bytes,
    shape: &[u64],
    elements: (Element, Author),
    boundaries: &[u64],
    cut: &mut dyn FnMut(usize),
) -> Result<Text, String> {
    let total = datatype::elements(shape)?;
    if text.first() != Some(&b'[') {
        return Err("must be an array".to_owned());
    }
    let per_row = elements_per_row(shape).unwrap_or(1);
    let inner = text.slice(1..text.len().max(2) - 1);
    let plain: Vec<u64> = boundaries
        .iter()
        .map(|rows| rows.saturating_mul(per_row))
        .collect();
    let mut cuts = Vec::with_capacity(plain.len());
    if plain::scan(&inner, elements, total, &plain, &mut |end| cuts.push(end + 1)) {
        cuts.into_iter().for_each(cut);
        return Ok(Text::flat(trim(&inner)));
    }
    let layout = walk(text, shape, elements, boundaries, cut)?;
    Ok(Text {
        layout,
        elements: trim(&inner),
    })
}

/// The same, element by element, of an array.
fn walk(
    text: &[u8],
    shape: &[u64],
    elements: (Element, Author),
    boundaries: &[u64],
    cut: &mut dyn FnMut(usize),
) -> Result<Layout, String> {
    let rank = shape.len();
    let (total, per_row) = (datatype::elements(shape)?, elements_per_row(shape).unwrap_or(1));
    let nested = rank > 1 && text[1..].trim_ascii_start().first() == Some(&b'[');
    let depth_of_elements = if nested { rank } else { 1 };
    let per_cut = if nested { 1 } else { per_row };
    let mut boundaries = boundaries
        .iter()
        .map(|rows| rows.saturating_mul(per_cut))
        .peekable();
    let mut counts = vec![0_u64; depth_of_elements + 1];
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'[' => {
                depth += 1;
                if depth > depth_of_elements {
                    return Err(format!("is nested {depth} deep, its shape has {rank} dimensions"));
                }
                counts[depth] = 0;
            }
            b']' => {
                let expected = if nested { shape[depth - 1] } else { total };
                if counts[depth] != expected {
                    return Err(wrong_count(nested, depth, counts[depth], expected));
                }
                depth -= 1;
                counts[depth] += 1;
            }
            b',' => {
                if depth == 1 && boundaries.peek() == Some(&counts[1]) {
                    boundaries.next();
                    cut(at);
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                if depth != depth_of_elements {
                    return Err(format!(
                        "has an element at depth {depth}, its shape has {rank} dimensions"
                    ));
                }
                at = token(text, at, elements)?;
                counts[depth] += 1;
                continue;
            }
        }
        at += 1;
    }
    Ok(if nested { Layout::Nested } else { Layout::Flat })
}

fn wrong_count(nested: bool, depth: usize, found: u64, expected: u64) -> String {
    if nested {
        format!("has an array of {found} at depth {depth}, its shape says {expected}")
    } else {
        format!("has {found} elements, its shape says {expected}")
    }
}

/// Checks the element that begins at `at`; the position behind it.
fn token(text: &[u8], at: usize, (element, author): (Element, Author)) -> Result<usize, String> {
    let rest = &text[at..];
    if rest[0] == b'"' {
        if element != Element::Bytes {
            return Err("has a string among its elements".to_owned());
        }
        return string(rest).map(|length| at + length);
    }
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b',' | b']') || byte.is_ascii_whitespace())
        .unwrap_or(rest.len());
    let token = &rest[..end];
    let is_from_runtime = author == Author::Runtime;
    let fits = match element {
        Element::Bool => matches!(token, b"true" | b"false" | b"0" | b"1"),
        Element::Unsigned(most) => {
            token.iter().all(u8::is_ascii_digit)
                && (is_from_runtime || number::<u64>(token).is_some_and(|number| number <= most))
        }
        Element::Signed(most) => {
            let digits = token.strip_prefix(b"-").unwrap_or(token);
            digits.iter().all(u8::is_ascii_digit)
                && (is_from_runtime
                    || number::<i64>(token).is_some_and(|number| (-most - 1..=most).contains(&number)))
        }
        Element::Float(float) => {
            (is_from_runtime && token == b"null")
                || ((token[0] == b'-' || token[0].is_ascii_digit())
                    && (is_from_runtime || float.holds(token)))
        }
        Element::Bytes => false,
    };
    if fits {
        return Ok(at + end);
    }
    let shown = String::from_utf8_lossy(&token[..token.len().min(24)]);
    Err(format!(
        "has {shown} among its elements, which its datatype does not hold"
    ))
}

pub(super) fn number<T: FromStr>(token: &[u8]) -> Option<T> {
    str::from_utf8(token).ok()?.parse().ok()
}

impl Float {
    /// Whether a number stays finite. The usual ones are known to by their length.
    fn holds(self, token: &[u8]) -> bool {
        let has_exponent = token.iter().any(|byte| matches!(byte, b'e' | b'E'));
        let whole = token.iter().position(|byte| *byte == b'.').unwrap_or(token.len());
        (!has_exponent && whole <= self.safe_digits)
            || number::<f64>(token).is_some_and(|number| number.abs() < self.overflow)
    }
}

/// The length of the string that the text begins with, quotes included. Its escapes must make up Unicode: JSON's grammar allows half of a
/// surrogate pair, of which no runtime can make bytes.
pub(super) fn string(text: &[u8]) -> Result<usize, String> {
    let mut at = 1;
    while text[at] != b'"' {
        if text[at] != b'\\' {
            at += 1;
        } else if text[at + 1] != b'u' {
            at += 2;
        } else {
            at += match escaped(&text[at..]) {
                Some(0xd800..=0xdbff) if matches!(escaped(&text[at + 6..]), Some(0xdc00..=0xdfff)) => 12,
                Some(0xd800..=0xdfff) => {
                    return Err("has half of a surrogate pair among its elements".to_owned());
                }
                _ => 6,
            };
        }
    }
    Ok(at + 1)
}

/// The code unit of the escape `\uXXXX` that the text begins with.
fn escaped(text: &[u8]) -> Option<u16> {
    let digits = text.get(..6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Without white space around it.
fn trim(text: &Bytes) -> Bytes {
    let is_text = |byte: &u8| !byte.is_ascii_whitespace();
    let start = text.iter().position(is_text).unwrap_or(text.len());
    let end = text.iter().rposition(is_text).map_or(start, |last| last + 1);
    text.slice(start..end)
}

/// The elements of a nested array without the brackets around its rows: the flat form.
fn flatten(nested: &[u8], out: &mut Vec<u8>) {
    let mut in_string = false;
    let mut escaped = false;
    for &byte in nested {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b'[' | b']') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests;
