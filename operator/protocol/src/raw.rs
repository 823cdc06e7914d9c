//! Elements of BYTES among raw elements: each behind its length, 4 bytes with the lowest first.

/// Bytes that say the length of an element of BYTES.
pub const PREFIX: usize = 4;

/// Appends an element of BYTES.
///
/// # Errors
/// Where it has 2^32 bytes or more.
pub fn push_element(out: &mut Vec<u8>, element: &[u8]) -> Result<(), String> {
    let length = u32::try_from(element.len()).map_err(|_| {
        format!(
            "has an element of {} bytes, which its datatype does not hold",
            element.len()
        )
    })?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(element);
    Ok(())
}
