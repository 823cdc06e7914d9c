//! The shape of an image inside a row: channels, height, width, row-major.

use std::fmt;
use std::str::FromStr;

/// Most numbers of an image; a row of them is a megabyte of JSON.
const MOST: usize = 1 << 17;

/// `channels` planes of `height` x `width` numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Image {
    /// Numbers of the image.
    pub(crate) fn numbers(self) -> usize {
        self.channels * self.height * self.width
    }

    /// As ONNX orders them behind the batch.
    pub(crate) fn dimensions(self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("must be channels x height x width with at most {MOST} numbers, such as 3x32x32: {text}")
        };
        let sizes = text
            .split('x')
            .map(str::parse)
            .collect::<Result<Vec<usize>, _>>()
            .map_err(|_| wrong())?;
        let &[channels, height, width] = sizes.as_slice() else {
            return Err(wrong());
        };
        let numbers = channels
            .checked_mul(height)
            .and_then(|area| area.checked_mul(width));
        match numbers {
            Some(1..=MOST) => Ok(Self {
                channels,
                height,
                width,
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn an_image_is_written_as_it_is_read() {
        let image = "3x48x96".parse::<Image>().unwrap();
        assert_eq!((image.dimensions(), image.numbers()), ([3, 48, 96], 13_824));
        assert_eq!(image.to_string(), "3x48x96");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for text in [
            "",
            "3x48",
            "3x48x96x1",
            "3x0x96",
            "3x-1x96",
            "3x48xW",
            "99999999999x99999999999x99999999999",
        ] {
            assert!(text.parse::<Image>().is_err(), "{text}");
        }
    }
}
