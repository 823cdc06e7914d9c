//! A tensor's `data` as text: checked, stripped and cut by rows without reading a number.
//!
//! The text is known to be JSON. Both of the protocol's forms are taken: flat (all elements in one array, row-major) and nested (arrays in arrays
//! as the shape says).

use bytes::Bytes;

/// The protocol's datatypes, as far as their elements differ in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Bool,
    Unsigned,
    Signed,
    Float,
    Bytes,
}

/// Names as the protocol writes them.
const DATATYPES: &[(&str, Element)] = &[
    ("BOOL", Element::Bool),
    ("UINT8", Element::Unsigned),
    ("UINT16", Element::Unsigned),
    ("UINT32", Element::Unsigned),
    ("UINT64", Element::Unsigned),
    ("INT8", Element::Signed),
    ("INT16", Element::Signed),
    ("INT32", Element::Signed),
    ("INT64", Element::Signed),
    ("FP16", Element::Float),
    ("BF16", Element::Float),
    ("FP32", Element::Float),
    ("FP64", Element::Float),
    ("BYTES", Element::Bytes),
];

/// How `data` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Flat,
    Nested,
}

/// `data` of a tensor: what stands between its outer brackets, still text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) form: Form,
    pub(super) elements: Bytes,
}

/// Whether the protocol has this datatype.
pub(super) fn check_datatype(datatype: &str) -> Result<(), String> {
    element(datatype).map(|_| ())
}

fn element(datatype: &str) -> Result<Element, String> {
    let found = DATATYPES.iter().find(|(name, _)| *name == datatype);
    found.map(|(_, element)| *element).ok_or_else(|| {
        let names: Vec<&str> = DATATYPES.iter().map(|(name, _)| *name).collect();
        format!("{datatype:?} is no datatype, must be one of {}", names.join(", "))
    })
}

/// Elements of one row of a shape.
pub(super) fn elements_per_row(shape: &[u64]) -> Option<u64> {
    shape
        .iter()
        .skip(1)
        .try_fold(1_u64, |product, size| product.checked_mul(*size))
}

/// Checks `data` against shape and datatype.
pub(super) fn check(text: &Bytes, shape: &[u64], datatype: &str) -> Result<Data, String> {
    let mut cuts = |_: usize| {};
    scan(text, shape, element(datatype)?, &[], &mut cuts)
}

/// Cuts `data` after each of `rows`: as many parts, in order, each without brackets.
pub(super) fn cut(text: &Bytes, shape: &[u64], datatype: &str, rows: &[u64]) -> Result<Vec<Bytes>, String> {
    let mut ends = Vec::with_capacity(rows.len());
    let mut total = 0;
    let boundaries: Vec<u64> = rows
        .iter()
        .map(|rows| {
            total += rows;
            total
        })
        .collect();
    let data = scan(text, shape, element(datatype)?, &boundaries, &mut |end| {
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
        part
    });
    Ok(parts.collect())
}

/// Reads the text once. `cut` is called with the position of the comma behind each of the row counts in `boundaries`, but for the last row.
fn scan(
    text: &Bytes,
    shape: &[u64],
    element: Element,
    boundaries: &[u64],
    cut: &mut dyn FnMut(usize),
) -> Result<Data, String> {
    let rank = shape.len();
    let total = elements_per_row(shape)
        .zip(shape.first())
        .and_then(|(row, rows)| row.checked_mul(*rows));
    let total = total.ok_or("its shape has more than 2^64 elements")?;
    if text.first() != Some(&b'[') {
        return Err("must be an array".to_owned());
    }
    let nested = rank > 1 && text[1..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let depth_of_elements = if nested { rank } else { 1 };
    let per_cut = if nested {
        1
    } else {
        elements_per_row(shape).unwrap_or(1)
    };
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
                at = token(text, at, element)?;
                counts[depth] += 1;
                continue;
            }
        }
        at += 1;
    }
    let (first, last) = (1, text.iter().rposition(|byte| *byte == b']').unwrap_or(1));
    let form = if nested { Form::Nested } else { Form::Flat };
    Ok(Data {
        form,
        elements: trim(&text.slice(first..last)),
    })
}

fn wrong_count(nested: bool, depth: usize, found: u64, expected: u64) -> String {
    if nested {
        format!("has an array of {found} at depth {depth}, its shape says {expected}")
    } else {
        format!("has {found} elements, its shape says {expected}")
    }
}

/// Checks the element that begins at `at`; the position behind it.
fn token(text: &[u8], at: usize, element: Element) -> Result<usize, String> {
    let rest = &text[at..];
    if rest[0] == b'"' {
        if element != Element::Bytes {
            return Err("has a string among its elements".to_owned());
        }
        let mut end = 1;
        while rest[end] != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        return Ok(at + end + 1);
    }
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b',' | b']') || byte.is_ascii_whitespace())
        .unwrap_or(rest.len());
    let token = &rest[..end];
    let fits = match element {
        Element::Bool => matches!(token, b"true" | b"false" | b"0" | b"1"),
        Element::Unsigned => token.iter().all(u8::is_ascii_digit),
        Element::Signed => token
            .iter()
            .enumerate()
            .all(|(i, byte)| byte.is_ascii_digit() || (i == 0 && *byte == b'-')),
        Element::Float => token[0] == b'-' || token[0].is_ascii_digit(),
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

/// Without white space around it.
fn trim(text: &Bytes) -> Bytes {
    let is_text = |byte: &u8| !byte.is_ascii_whitespace();
    let start = text.iter().position(is_text).unwrap_or(text.len());
    let end = text.iter().rposition(is_text).map_or(start, |last| last + 1);
    text.slice(start..end)
}

/// The elements of a nested array without the brackets around its rows: the flat form.
pub(super) fn flatten(nested: &[u8], out: &mut Vec<u8>) {
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
