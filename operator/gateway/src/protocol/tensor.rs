//! A tensor's data in either form, and the way from one to the other.
//!
//! Data that has the form that is wanted stays as it is; only what differs is converted, element by element. FP16 and BF16 are not: the protocol
//! has no JSON numbers for them, so they pass in the form that they have.

use bytes::Bytes;

use super::{
    convert,
    datatype::Datatype,
    meter::{Direction, Meter},
    text::Text,
};

/// Whose data it is. A caller's must fit its datatype, as a runtime might refuse the whole batch for it. A runtime's is passed on as it is, with
/// `null` where a float is no number, which JSON cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    Caller,
    Runtime,
}

/// How a tensor's data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON.
    Text,
    /// Little-endian elements.
    Raw,
}

/// The elements of a tensor, checked against its shape and datatype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Text(Text),
    Raw(Bytes),
}

impl Data {
    /// Bytes that it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.elements.len(),
            Self::Raw(raw) => raw.len(),
        }
    }

    /// The same elements in this form.
    ///
    /// # Errors
    /// Says which element the form cannot write, or that it has none for the datatype.
    pub(super) fn into_form(
        self,
        form: Form,
        datatype: Datatype,
        of: Author,
        meter: &mut Meter,
    ) -> Result<Self, String> {
        let length = self.len();
        match (self, form) {
            (Self::Text(text), Form::Raw) => {
                let direction = match of {
                    Author::Caller => Direction::RequestToRaw,
                    Author::Runtime => Direction::AnswerToRaw,
                };
                let raw = meter.measure(direction, length, || convert::raw(&text.elements, datatype))?;
                Ok(Self::Raw(raw))
            }
            (Self::Raw(raw), Form::Text) => {
                let direction = match of {
                    Author::Caller => Direction::RequestToJson,
                    Author::Runtime => Direction::AnswerToJson,
                };
                let elements = meter.measure(direction, length, || convert::text(&raw, datatype))?;
                Ok(Self::Text(Text::flat(elements)))
            }
            (same, _) => Ok(same),
        }
    }
}
