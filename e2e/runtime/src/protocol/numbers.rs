//! The `data` of a JSON tensor: numbers, flat or nested as the shape says. Both are read into one flat list.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// The length of a depth of which no list has ended.
const UNSEEN: usize = usize::MAX;

/// Numbers in row-major order, and how they were nested.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Numbers {
    pub(crate) values: Vec<f32>,
    /// Length of the lists at each depth, outermost first; lists at one depth have one length.
    lengths: Vec<usize>,
}

impl Numbers {
    /// Whether the data is what `shape` says: flat with the right count, or nested list by list.
    pub(crate) fn check(&self, shape: &[usize]) -> Result<(), String> {
        let expected = shape.iter().product::<usize>();
        if self.values.len() != expected {
            return Err(format!(
                "shape {shape:?} has {expected} numbers, found {}",
                self.values.len()
            ));
        }
        if self.lengths.len() > 1 && self.lengths != shape {
            return Err(format!(
                "nested as {:?}, but the shape is {shape:?}",
                self.lengths
            ));
        }
        Ok(())
    }
}

impl<'de> serde::Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Self::default();
        deserializer.deserialize_seq(List {
            numbers: &mut numbers,
            depth: 0,
        })?;
        Ok(numbers)
    }
}

/// A list at `depth`.
struct List<'a> {
    numbers: &'a mut Numbers,
    depth: usize,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of numbers, flat or nested as the shape says")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut length = 0;
        while list
            .next_element_seed(Element {
                numbers: &mut *self.numbers,
                depth: self.depth + 1,
            })?
            .is_some()
        {
            length += 1;
        }
        // Inner lists end before the list that holds them, so a depth may be met before the depths above it.
        let lengths = &mut self.numbers.lengths;
        lengths.resize(lengths.len().max(self.depth + 1), UNSEEN);
        if lengths[self.depth] != UNSEEN && lengths[self.depth] != length {
            return Err(A::Error::custom("nested lists have different lengths"));
        }
        lengths[self.depth] = length;
        Ok(())
    }
}

/// A number or a list at `depth`.
struct Element<'a> {
    numbers: &'a mut Numbers,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, or a list of numbers")
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "FP32 data; what does not fit is refused"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let single = value as f32;
        if !single.is_finite() {
            return Err(E::custom(format!("{value} does not fit FP32")));
        }
        self.numbers.values.push(single);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "FP32 data")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.numbers.values.push(value as f32);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "FP32 data")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.numbers.values.push(value as f32);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        List {
            numbers: self.numbers,
            depth: self.depth,
        }
        .visit_seq(list)
    }
}
