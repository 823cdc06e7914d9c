//! Single elements of tensors: as raw bytes, little-endian and without the length before those of BYTES. FP16 and BF16 have no raw bytes for their JSON
//! numbers, so those stay the text that they are.

/// A datatype as the protocol writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Datatype {
    /// BOOL.
    Bool,
    /// UINT8 to UINT64, by bytes.
    Unsigned(usize),
    /// INT8 to INT64, by bytes.
    Signed(usize),
    /// FP16 and BF16, by the magnitude from which on numbers are infinite.
    Half(f64),
    /// FP32.
    Single,
    /// FP64.
    Double,
    /// BYTES.
    Bytes,
}

/// Who wrote an element. A runtime's numbers need not fit their datatype, and its floats may be `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A caller.
    Caller,
    /// A runtime.
    Runtime,
}

impl Datatype {
    /// The datatype of a name.
    pub fn parse(name: &str) -> Option<Self> {
        let two = 2_f64;
        Some(match name {
            "BOOL" => Self::Bool,
            "UINT8" => Self::Unsigned(1),
            "UINT16" => Self::Unsigned(2),
            "UINT32" => Self::Unsigned(4),
            "UINT64" => Self::Unsigned(8),
            "INT8" => Self::Signed(1),
            "INT16" => Self::Signed(2),
            "INT32" => Self::Signed(4),
            "INT64" => Self::Signed(8),
            // The largest number, and half of its last place.
            "FP16" => Self::Half(65_504.0 + 16.0),
            "BF16" => Self::Half((two - two.powi(-7) + two.powi(-8)) * two.powi(127)),
            "FP32" => Self::Single,
            "FP64" => Self::Double,
            "BYTES" => Self::Bytes,
            _ => return None,
        })
    }

    /// Bytes of a raw element; `None` for BYTES.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Unsigned(width) | Self::Signed(width) => Some(width),
            Self::Half(_) => Some(2),
            Self::Single => Some(4),
            Self::Double => Some(8),
            Self::Bytes => None,
        }
    }

    /// The element that a JSON scalar stands for. A runtime's that does not fit is kept as its text.
    pub fn of_token(self, token: &str, author: Author) -> Option<Vec<u8>> {
        let is_runtime = author == Author::Runtime;
        // Longer than any that fits.
        let text = || is_runtime.then(|| format!("not held: {token}").into_bytes());
        let digits = token.strip_prefix('-').unwrap_or(token);
        let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = digits.starts_with(|first: char| first.is_ascii_digit());
        match self {
            Self::Bool => match token {
                "true" | "1" => Some(vec![1]),
                "false" | "0" => Some(vec![0]),
                _ => None,
            },
            Self::Unsigned(width) if is_whole && digits == token => {
                let number = token.parse::<u128>().ok();
                let fitting = number.filter(|number| *number < 1 << (8 * width));
                fitting.map_or_else(text, |number| Some(number.to_le_bytes()[..width].to_vec()))
            }
            Self::Signed(width) if is_whole => {
                let number = token.parse::<i128>().ok();
                let limit = 1_i128 << (8 * width - 1);
                let fitting = number.filter(|number| (-limit..limit).contains(number));
                fitting.map_or_else(text, |number| Some(number.to_le_bytes()[..width].to_vec()))
            }
            Self::Single if token == "null" && is_runtime => Some(f32::NAN.to_le_bytes().to_vec()),
            Self::Double if token == "null" && is_runtime => Some(f64::NAN.to_le_bytes().to_vec()),
            Self::Half(_) if token == "null" && is_runtime => text(),
            Self::Half(_) | Self::Single | Self::Double if is_number => {
                let number: f64 = token.parse().ok()?;
                self.nearest(token, number).map_or_else(text, Some)
            }
            Self::Bytes if token.starts_with('"') => {
                serde_json::from_str::<String>(token).ok().map(String::into_bytes)
            }
            _ => None,
        }
    }

    /// The nearest finite number of a floating-point datatype.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is the rounding that is asked for"
    )]
    fn nearest(self, token: &str, number: f64) -> Option<Vec<u8>> {
        match self {
            Self::Half(overflow) => (number.abs() < overflow).then(|| token.as_bytes().to_vec()),
            Self::Single => {
                let nearest: f32 = token.parse().ok()?;
                (number as f32)
                    .is_finite()
                    .then(|| nearest.to_le_bytes().to_vec())
            }
            _ => number.is_finite().then(|| number.to_le_bytes().to_vec()),
        }
    }

    /// The elements of raw bytes.
    pub fn of_raw(self, mut raw: &[u8], author: Author) -> Option<Vec<Vec<u8>>> {
        let mut elements = Vec::new();
        while !raw.is_empty() {
            let width = if let Some(width) = self.width() {
                width
            } else {
                let (prefix, rest) = raw.split_first_chunk()?;
                raw = rest;
                usize::try_from(u32::from_le_bytes(*prefix)).ok()?
            };
            let (element, rest) = raw.split_at_checked(width)?;
            raw = rest;
            if self == Self::Bool && author == Author::Caller && element[0] > 1 {
                return None;
            }
            elements.push(element.to_vec());
        }
        Some(elements)
    }

    /// Whether JSON can write an element that was raw.
    pub fn has_text(self, element: &[u8]) -> bool {
        match self {
            Self::Half(_) => false,
            Self::Single => f32::from_le_bytes(element.try_into().unwrap()).is_finite(),
            Self::Double => f64::from_le_bytes(element.try_into().unwrap()).is_finite(),
            Self::Bytes => str::from_utf8(element).is_ok(),
            _ => true,
        }
    }
}

/// Elements that a shape says: none where a size is 0, whatever the others are.
pub fn count(shape: &[u64]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let count = shape
        .iter()
        .try_fold(1_u64, |count, size| count.checked_mul(*size))?;
    usize::try_from(count).ok()
}
