//! The strict reading of chunked content (RFC 9112, section 7.1): only as far as is needed to know where it ends.

use super::refusal::Refusal;

/// Most bytes of all chunk extensions of a body.
const EXTENSIONS: usize = 8 << 10;
/// Most bytes of the fields after the last chunk.
const TRAILERS: usize = 8 << 10;
/// Most of those fields.
const TRAILER_FIELDS: usize = 16;

/// A reader of chunks, between two bytes of them.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    state: State,
    extensions: usize,
    trailers: usize,
    trailer_fields: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataEnd,
    DataEnded,
    TrailerBegin,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    Ending,
    Ended,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            extensions: 0,
            trailers: 0,
            trailer_fields: 0,
        }
    }

    /// Whether the last chunk and all after it was read.
    pub(super) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Reads on to the end of `bytes` or of the content, and says how many bytes that are.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && !self.ended() {
            if let State::Data { left } = &mut self.state {
                let length = bytes.len() - at;
                let step = usize::try_from(*left).map_or(length, |left| left.min(length));
                at += step;
                *left -= step as u64;
                if *left == 0 {
                    self.state = State::DataEnd;
                }
            } else {
                self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                // 15 digits are below the least size that a number of 64 bits does not hold.
                if digits == 15 {
                    return Err(Refusal::Chunk);
                }
                let digit = char::from(byte).to_digit(16).ok_or(Refusal::Chunk)?;
                State::Size {
                    digits: digits + 1,
                    size: size * 16 + u64::from(digit),
                }
            }
            (State::Size { digits: 1.., size } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Size { digits: 1.., size }, b';') => State::Extension { size },
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS {
                    return Err(Refusal::ChunkExtras);
                }
                State::Extension { size }
            }
            (State::SizeEnd { size: 0 } | State::TrailerEnd, b'\n') => State::TrailerBegin,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataEnd, b'\r') => State::DataEnded,
            (State::DataEnded, b'\n') => State::Size { digits: 0, size: 0 },
            (State::TrailerBegin, b'\r') => State::Ending,
            (State::TrailerName, b':') | (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                State::TrailerValue
            }
            (State::TrailerBegin, _) if is_token(byte) => {
                self.trailer_fields += 1;
                State::TrailerName
            }
            (State::TrailerName, _) if is_token(byte) => State::TrailerName,
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::Ending, b'\n') => State::Ended,
            _ => return Err(Refusal::Chunk),
        };
        if matches!(self.state, State::TrailerName | State::TrailerValue) {
            self.trailers += 1;
            if self.trailers > TRAILERS || self.trailer_fields > TRAILER_FIELDS {
                return Err(Refusal::ChunkExtras);
            }
        }
        Ok(())
    }
}

/// Whether a byte may be part of a name (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ends_where_it_says_in_whatever_parts_it_comes() {
        let table: &[(&[u8], Result<usize, Refusal>)] = &[
            (b"3\r\nabc\r\n0\r\n\r\nGET", Ok(13)),
            (b"A;a=b\r\n0123456789\r\n0;x\r\nt: 1\r\n\r\n", Ok(32)),
            (b"000000000000003\r\nabc\r\n0\r\n\r\n", Ok(27)),
            (b"0000000000000003\r\nabc\r\n", Err(Refusal::Chunk)),
            (b"3 \r\nabc\r\n", Err(Refusal::Chunk)),
            (b"3\nabc\r\n", Err(Refusal::Chunk)),
            (b"3\r\nabcd\r\n", Err(Refusal::Chunk)),
            (b"\r\n", Err(Refusal::Chunk)),
            (b"-1\r\n", Err(Refusal::Chunk)),
            (b"0x3\r\n", Err(Refusal::Chunk)),
            (b"0\r\n folded: 1\r\n\r\n", Err(Refusal::Chunk)),
            (b"0\r\nname : 1\r\n\r\n", Err(Refusal::Chunk)),
            (b"0\r\na: b\n\r\n", Err(Refusal::Chunk)),
        ];
        for (bytes, end) in table {
            assert_eq!(Chunks::new().read(bytes), *end, "{}", bytes.escape_ascii());
            let mut chunks = Chunks::new();
            let single = bytes
                .iter()
                .try_fold(0, |sum, byte| Ok(sum + chunks.read(&[*byte])?));
            assert_eq!(single, *end, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_in_all() {
        let chunk = [b"1;".as_slice(), &[b'x'; 4 << 10], b"\r\na\r\n"].concat();
        let mut chunks = Chunks::new();
        assert_eq!(chunks.read(&chunk), Ok(chunk.len()));
        assert_eq!(chunks.read(&chunk), Ok(chunk.len()));
        assert_eq!(chunks.read(&chunk), Err(Refusal::ChunkExtras));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(4 << 10)].concat();
        assert_eq!(Chunks::new().read(&trailers), Err(Refusal::ChunkExtras));
    }
}
