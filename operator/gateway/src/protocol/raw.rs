//! A tensor's data as raw bytes: little-endian elements in row-major order; those of BYTES each behind its length in 4 bytes.

use bytes::Bytes;
pub(super) use harmonybatch_protocol::raw::{PREFIX, push_element};

use super::{
    datatype::{Datatype, elements, elements_per_row},
    tensor::Author,
};

/// Checks raw data against shape and datatype.
///
/// # Errors
/// What was found, and what shape and datatype say.
pub(super) fn check(raw: &[u8], shape: &[u64], datatype: Datatype, author: Author) -> Result<(), String> {
    let total = elements(shape)?;
    let Some(size) = datatype.size() else {
        let found = Elements::new(raw).try_fold(0_u64, |count, element| element.map(|_| count + 1))?;
        return if found == total {
            Ok(())
        } else {
            Err(format!("has {found} elements, its shape says {total}"))
        };
    };
    let expected = total
        .checked_mul(size as u64)
        .ok_or("its shape has 2^64 bytes or more")?;
    if raw.len() as u64 != expected {
        let (found, name) = (raw.len(), datatype.name());
        return Err(format!(
            "has {found} bytes, {total} elements of {name} have {expected}"
        ));
    }
    if datatype == Datatype::Bool
        && author == Author::Caller
        && let Some(other) = raw.iter().find(|byte| **byte > 1)
    {
        return Err(format!(
            "has the byte {other} among its elements, BOOL has 0 and 1"
        ));
    }
    Ok(())
}

/// Cuts checked data of a runtime after each of `rows`: as many parts, in order.
///
/// # Errors
/// Where the data is not what shape and datatype say.
pub(super) fn cut(
    raw: &Bytes,
    shape: &[u64],
    datatype: Datatype,
    rows: &[u64],
) -> Result<Vec<Bytes>, String> {
    check(raw, shape, datatype, Author::Runtime)?;
    let per_row = elements_per_row(shape).unwrap_or(0);
    let mut elements = Elements::new(raw);
    let mut start = 0;
    let parts = rows.iter().map(|rows| {
        let count = rows.saturating_mul(per_row);
        let end = if let Some(size) = datatype.size() {
            // Within the length of `raw`, which was checked.
            start + usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size)
        } else {
            for _ in 0..count {
                elements.next();
            }
            elements.at
        };
        let part = raw.slice(start..end.min(raw.len()));
        start = end.min(raw.len());
        part
    });
    Ok(parts.collect())
}

/// The elements of a tensor of BYTES. Ends at the first one that is broken.
pub(super) struct Elements<'a> {
    raw: &'a [u8],
    at: usize,
    index: u64,
}

impl<'a> Elements<'a> {
    pub(super) fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0, index: 0 }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8], String>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.raw[self.at..];
        if rest.is_empty() {
            return None;
        }
        let index = self.index;
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX>() else {
            self.at = self.raw.len();
            let found = rest.len();
            return Some(Err(format!(
                "ends with {found} bytes where the length of element {index} has {PREFIX}"
            )));
        };
        let announced = u32::from_le_bytes(*prefix);
        let element = usize::try_from(announced)
            .ok()
            .and_then(|length| rest.get(..length));
        let Some(element) = element else {
            self.at = self.raw.len();
            let left = rest.len();
            return Some(Err(format!(
                "says that element {index} has {announced} bytes, {left} are left"
            )));
        };
        self.at += PREFIX + element.len();
        self.index += 1;
        Some(Ok(element))
    }
}

#[cfg(test)]
mod tests;
