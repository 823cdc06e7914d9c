//! Flat numbers, looked at many bytes at a time.
//!
//! Most tensors are plain: one array of numbers without exponents, each of a few digits. That is seen without finding where each number begins and
//! ends, in loops over blocks of bytes which the compiler turns into vector instructions. Whatever is not plain is left to [`walk`](super::walk), which says
//! what is wrong with it, if anything is.

use super::{Author, Element};

/// Bytes that are looked at together. A number of more digits than that before its point fills one of them.
const BLOCK: usize = 16;
/// Digits that every floating-point number within a block's bounds holds: twice a block, less the two ends.
const LONGEST: usize = 2 * BLOCK - 2;

/// Looks at the text between the brackets of an array, which is known to be JSON, and calls `cut` with the position of each comma whose number,
/// counted from 1, is in `boundaries`. False: it is not plain, or has not `total` elements, and `cut` may have been called for some.
pub(super) fn scan(
    text: &[u8],
    (element, author): (Element, Author),
    total: u64,
    boundaries: &[u64],
    cut: &mut dyn FnMut(usize),
) -> bool {
    let mut commas = Commas {
        boundaries,
        cut,
        seen: 0,
    };
    let is_plain = match (element, author) {
        (Element::Float(float), Author::Caller) if float.safe_digits >= LONGEST => {
            are_short(text) && commas.count(text, |byte| any(byte, b"\"[{tfneE"))
        }
        // What a runtime says is passed on, numbers that are none as `null`.
        (Element::Float(_), Author::Runtime) => commas.count(text, |byte| any(byte, b"\"[{tf")),
        (Element::Signed(_), Author::Runtime) => commas.count(text, |byte| any(byte, b"\"[{tfn.eE")),
        (Element::Unsigned(_), Author::Runtime) => commas.count(text, |byte| any(byte, b"\"[{tfn.eE-")),
        _ => false,
    };
    is_plain && commas.seen + 1 == total && !text.trim_ascii().is_empty()
}

/// 1 where the byte is one of those. Without branches, of which there are no vector instructions.
fn any<const N: usize>(byte: u8, of: &[u8; N]) -> u8 {
    of.iter().fold(0, |found, one| found | u8::from(byte == *one))
}

/// Whether no number has more than [`LONGEST`] digits before its point: every block of nothing but digits is behind one.
fn are_short(text: &[u8]) -> bool {
    let ends = |byte: &u8| any(*byte, b",.");
    let (blocks, _) = text.as_chunks::<BLOCK>();
    blocks.iter().enumerate().all(|(index, block)| {
        block.iter().fold(0, |found, byte| found | ends(byte)) > 0 || {
            // Not far back: whoever writes a fraction of many blocks is not plain.
            let before = &text[(index * BLOCK).saturating_sub(LONGEST)..index * BLOCK];
            before.iter().rev().find(|byte| ends(byte) > 0) == Some(&b'.')
        }
    })
}

struct Commas<'a> {
    boundaries: &'a [u64],
    cut: &'a mut dyn FnMut(usize),
    seen: u64,
}

impl Commas<'_> {
    /// Counts them. False: one of the bytes is among the others.
    fn count(&mut self, text: &[u8], is_other: impl Fn(u8) -> u8 + Copy) -> bool {
        let (blocks, rest) = text.as_chunks::<{ 4 * BLOCK }>();
        let mut at = 0;
        blocks.iter().all(|block| self.block(block, &mut at, is_other)) && self.block(rest, &mut at, is_other)
    }

    /// `at` is where the block begins, and then where it ends.
    #[inline]
    fn block(&mut self, block: &[u8], at: &mut usize, is_other: impl Fn(u8) -> u8) -> bool {
        let (mut commas, mut others) = (0_u8, 0_u8);
        for &byte in block {
            commas += u8::from(byte == b',');
            others |= is_other(byte);
        }
        if others > 0 {
            return false;
        }
        let seen = self.seen + u64::from(commas);
        if self.boundaries.first().is_some_and(|first| *first <= seen) {
            self.find(block, *at);
        }
        self.seen = seen;
        *at += block.len();
        true
    }

    #[cold]
    fn find(&mut self, block: &[u8], at: usize) {
        let mut number = self.seen;
        for (position, _) in block.iter().enumerate().filter(|(_, byte)| **byte == b',') {
            number += 1;
            if self.boundaries.first() == Some(&number) {
                self.boundaries = &self.boundaries[1..];
                (self.cut)(at + position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::*, scan};

    /// What [`scan`] and [`walk`] find in an array: where its rows end, if it is well. The first may leave it to the other.
    fn both(
        text: &str,
        shape: &[u64],
        elements: (Element, Author),
        boundaries: &[u64],
    ) -> (Option<Vec<usize>>, Option<Vec<usize>>) {
        let per_row = elements_per_row(shape).unwrap_or(1);
        let of_elements: Vec<u64> = boundaries.iter().map(|rows| rows * per_row).collect();
        let inner = &text.as_bytes()[1..text.len() - 1];
        let (mut ends, mut walked) = (Vec::new(), Vec::new());
        let total = shape.iter().product();
        let is_plain = scan(inner, elements, total, &of_elements, &mut |end| {
            ends.push(end + 1);
        });
        let layout = walk(text.as_bytes(), shape, elements, boundaries, &mut |end| {
            walked.push(end);
        });
        let walked = layout.ok().map(|layout| {
            assert_eq!(layout, Layout::Flat);
            walked
        });
        (is_plain.then_some(ends), walked)
    }

    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,9})?",
            2 => "[1-9][0-9]{0,8}",
            1 => "-?[1-9][0-9]{20,45}(\\.[0-9]{1,40})?",
            1 => "-?[0-9](\\.[0-9]{1,3})?[eE][-+]?[0-9]{1,3}",
            1 => "null|true|false|\"1,2\"",
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_plain_is_found_element_by_element_too(
            numbers in prop::collection::vec(prop_oneof![9 => "-?[0-9]{1,3}\\.[0-9]{1,8}", 1 => number()], 1..80),
            odd in prop::bool::weighted(0.5), others in prop::collection::vec(number(), 1..3), space in " ?\n?",
            row in 1_u64..4, wrong in prop::bool::weighted(0.1), first in 1_u64..20, second in 1_u64..20,
            datatype in prop::sample::select(vec![Datatype::Fp16, Datatype::Bf16, Datatype::Fp32, Datatype::Fp64, Datatype::Int8,
                Datatype::Int64, Datatype::Uint8, Datatype::Uint32, Datatype::Bool, Datatype::Bytes]),
            author in prop::sample::select(vec![Author::Caller, Author::Runtime]),
        ) {
            let mut numbers = numbers;
            if odd {
                numbers.extend(others);
            }
            let rows = numbers.len() as u64 / row + u64::from(wrong);
            prop_assume!(rows > 0);
            if !wrong {
                numbers.truncate(usize::try_from(rows * row).unwrap_or(0));
            }
            let text = format!("[{space}{}{space}]", numbers.join(&format!(",{space}")));
            let boundaries = [first, first + second];
            let (plain, walked) = both(&text, &[rows, row], (element(datatype), author), &boundaries);
            if let Some(ends) = plain {
                prop_assert_eq!(Some(ends), walked, "{}", text);
            }
        }
    }

    #[test]
    fn usual_tensors_are_plain() {
        let image = vec!["0.48235294222831726"; 3000].join(", ");
        let table = [
            (
                "-1.5,2,3.25,1234567890".to_owned(),
                4,
                Datatype::Fp32,
                Author::Caller,
            ),
            (image, 3000, Datatype::Fp32, Author::Caller),
            ("1e-7,null,3".to_owned(), 3, Datatype::Fp64, Author::Runtime),
            ("-3,5".to_owned(), 2, Datatype::Int64, Author::Runtime),
            ("3,5".to_owned(), 2, Datatype::Uint8, Author::Runtime),
        ];
        for (text, count, datatype, author) in table {
            let found = scan(
                text.as_bytes(),
                (element(datatype), author),
                count,
                &[],
                &mut |_| {},
            );
            assert!(found, "{}", &text[..20.min(text.len())]);
        }
    }

    #[test]
    fn the_longest_plain_number_is_no_longer_than_what_a_float_surely_holds() {
        for before in 0..40 {
            for digits in 1..60 {
                let text = format!("{}{}", "1,".repeat(before), "9".repeat(digits));
                let elements = (element(Datatype::Fp32), Author::Caller);
                let found = scan(text.as_bytes(), elements, before as u64 + 1, &[], &mut |_| {});
                assert!(!found || digits <= 38, "{text}");
                assert!(found || digits >= super::BLOCK, "{text}");
            }
        }
    }
}
