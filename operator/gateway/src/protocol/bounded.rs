//! Parts of a body that are bounded while they are read, so that no body costs much more memory than its bytes, and are read in one form only.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Value, value::RawValue};

/// What is counted, for the message when there are too many.
pub(super) trait Counted {
    const NAME: &'static str;
}

/// An array of at most `N` elements.
#[derive(Debug)]
pub(super) struct AtMost<T, const N: usize>(pub(super) Vec<T>);

impl<T, const N: usize> Default for AtMost<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de> + Counted, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Counted, const N: usize> Visitor<'de> for Elements<T, N> {
            type Value = AtMost<T, N>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "an array of at most {N} {}", T::NAME)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut taken = Vec::new();
                while let Some(element) = elements.next_element()? {
                    if taken.len() == N {
                        return Err(A::Error::custom(format_args!("more than {N} {}", T::NAME)));
                    }
                    taken.push(element);
                }
                Ok(AtMost(taken))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// A struct as an object. By itself, what serde derives takes an array of the fields' values as well.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<T: Counted> Counted for Object<T> {
    const NAME: &'static str = T::NAME;
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Parameters as the protocol has them: names with a string, a number or a boolean.
#[derive(Debug, Default)]
pub(super) struct Parameters(pub(super) BTreeMap<String, Value>);

impl Parameters {
    /// Most bytes of one object of parameters, as they are written.
    const LIMIT: usize = 4 << 10;

    /// Bytes of its texts, as far as they can be many.
    pub(super) fn size(&self) -> usize {
        let texts = self.0.iter();
        texts
            .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
            .sum()
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Parameters;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parameters, A::Error> {
                let (mut taken, mut size) = (BTreeMap::new(), 0);
                while let Some((name, value)) = entries.next_entry::<String, &RawValue>()? {
                    size += name.len() + value.get().len();
                    if size > Parameters::LIMIT {
                        let limit = Parameters::LIMIT;
                        return Err(A::Error::custom(format_args!(
                            "parameters of more than {limit} bytes"
                        )));
                    }
                    taken.insert(name, serde_json::from_str(value.get()).map_err(A::Error::custom)?);
                }
                Ok(Parameters(taken))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
