//! Messages over REST, taken apart member by member.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

use super::{
    element::{Author, Datatype, count},
    message::{Answer, Parameters, Request, RequestedOutput, Tensor},
};

/// Most inputs, and most outputs.
const TENSORS: usize = 256;
/// Most dimensions.
const DIMENSIONS: usize = 32;
/// Most bytes of names, datatypes and parameters.
const TEXT: usize = 16 << 10;
/// Most bytes of one object of parameters.
const PARAMETERS: usize = 4 << 10;
const DATA_SIZE: &str = "binary_data_size";
const DATA: &str = "binary_data";
const DATA_OUTPUT: &str = "binary_data_output";

/// Whose request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// A caller's, which must keep what the gateway bounds.
    Kept,
    /// The gateway's own, which has its own id and parameters beside the callers'.
    None,
}

/// The members of an object in their order, each as often as it is there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut taken = Vec::new();
                while let Some(member) = members.next_entry()? {
                    taken.push(member);
                }
                Ok(Members(taken))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The values of these members, none of which may be there twice. Others are `tolerated` or an error.
fn members<'a, const N: usize>(
    object: &'a RawValue,
    names: [&str; N],
    tolerated: bool,
) -> Option<[Option<&'a RawValue>; N]> {
    let mut values = [None; N];
    for (name, value) in serde_json::from_str::<Members<'_>>(object.get()).ok()?.0 {
        match names.iter().position(|known| *known == name) {
            Some(index) if values[index].is_none() => values[index] = Some(value),
            None if tolerated => {}
            _ => return None,
        }
    }
    Some(values)
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

fn list<'a>(value: &'a RawValue) -> Option<Vec<&'a RawValue>> {
    read::<Vec<&'a RawValue>>(value)
}

fn optional(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

/// What has been read, and how much text that is.
struct Reader<'a> {
    bounds: Bounds,
    text: usize,
    /// Binary tensors that are left, where any are announced.
    rest: Option<&'a [u8]>,
}

/// A request, whose JSON has `header_length` bytes where binary tensors are behind it.
pub fn request(body: &[u8], header_length: Option<usize>, bounds: Bounds) -> Option<Request> {
    let (header, rest) = match header_length {
        Some(length) => body
            .split_at_checked(length)
            .map(|(header, rest)| (header, Some(rest)))?,
        None => (body, None),
    };
    let header: &RawValue = serde_json::from_slice(header).ok()?;
    let [id, parameters, inputs, outputs] =
        members(header, ["id", "parameters", "inputs", "outputs"], false)?;
    let mut reader = Reader {
        bounds,
        text: 0,
        rest,
    };
    let id: Option<String> = optional(id).map_or(Some(None), |id| Some(Some(read(id)?)))?;
    reader.text += id.as_ref().map_or(0, String::len);
    let mut parameters = reader.parameters(parameters)?;
    let outputs = outputs.map_or(Some(Vec::new()), list)?;
    let inputs = list(inputs?)?;
    let within = inputs.len().max(outputs.len()) <= TENSORS;
    let inputs: Vec<Tensor> = inputs
        .into_iter()
        .map(|input| reader.input(input))
        .collect::<Option<_>>()?;
    let outputs: Vec<RequestedOutput> = outputs
        .into_iter()
        .map(|output| reader.output(output))
        .collect::<Option<_>>()?;
    if !parameters
        .remove(DATA_OUTPUT)
        .is_none_or(|flag| flag.is_boolean())
    {
        return None;
    }
    let request = Request {
        id,
        parameters: own(parameters)?,
        inputs,
        outputs,
    };
    let is_all = reader.rest.is_none_or(<[u8]>::is_empty);
    let within = bounds == Bounds::None || (within && reader.text <= TEXT);
    request.checked().filter(|_| is_all && within)
}

impl Reader<'_> {
    fn parameters(&mut self, value: Option<&RawValue>) -> Option<Parameters> {
        let Some(value) = value else {
            return Some(Parameters::new());
        };
        let mut size = 0;
        let mut taken = BTreeMap::new();
        for (name, value) in read::<Members<'_>>(value)?.0 {
            size += name.len() + value.get().len();
            taken.insert(name, read::<Value>(value)?);
        }
        let texts = taken.iter();
        self.text += texts
            .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
            .sum::<usize>();
        (self.bounds == Bounds::None || size <= PARAMETERS).then_some(taken)
    }

    fn input(&mut self, value: &RawValue) -> Option<Tensor> {
        let names = ["name", "shape", "datatype", "parameters", "data"];
        let [name, shape, datatype, parameters, data] = members(value, names, false)?;
        let (name, datatype): (String, String) = (read(name?)?, read(datatype?)?);
        self.text += name.len() + datatype.len();
        let mut parameters = self.parameters(parameters)?;
        let size = parameters
            .remove(DATA_SIZE)
            .filter(|size| *size != Value::Bool(false));
        let shape: Vec<u64> = read(shape?)?;
        if shape.len() > DIMENSIONS {
            return None;
        }
        let parsed = Datatype::parse(&datatype)?;
        let is_text = size.is_none();
        let elements = match (size, optional(data)) {
            (None, Some(data)) => text(data, &shape, parsed, Author::Caller)?,
            (Some(size), None) => {
                let size = usize::try_from(size.as_u64()?).ok()?;
                let (raw, rest) = self.rest?.split_at_checked(size)?;
                self.rest = Some(rest);
                parsed.of_raw(raw, Author::Caller)?
            }
            _ => return None,
        };
        Some(Tensor {
            name,
            datatype,
            shape,
            parameters: own(parameters)?,
            elements,
            is_text,
        })
    }

    fn output(&mut self, value: &RawValue) -> Option<RequestedOutput> {
        let [name, parameters] = members(value, ["name", "parameters"], false)?;
        let name: String = read(name?)?;
        self.text += name.len();
        let mut parameters = self.parameters(parameters)?;
        let is_flag = parameters.remove(DATA).is_none_or(|flag| flag.is_boolean());
        let parameters = own(parameters)?;
        is_flag.then_some(RequestedOutput { name, parameters })
    }
}

/// Parameters of the protocol. Those of the extension may be where they say nothing if they ask for nothing.
pub(super) fn own(mut parameters: Parameters) -> Option<Parameters> {
    for name in [DATA_SIZE, DATA, DATA_OUTPUT] {
        if parameters
            .remove(name)
            .is_some_and(|value| value != Value::Bool(false))
        {
            return None;
        }
    }
    let mut values = parameters.values();
    values
        .all(|value| value.is_string() || value.is_number() || value.is_boolean())
        .then_some(parameters)
}

/// The elements of `data`: in one array, or in arrays as the shape says.
fn text(data: &RawValue, shape: &[u64], datatype: Datatype, author: Author) -> Option<Vec<Vec<u8>>> {
    let items = list(data)?;
    let is_nested = shape.len() > 1 && items.first().is_some_and(|first| first.get().starts_with('['));
    let mut elements = Vec::new();
    if is_nested {
        nested(data, shape, datatype, author, &mut elements)?;
    } else {
        for item in items {
            elements.push(datatype.of_token(item.get(), author)?);
        }
    }
    (count(shape)? == elements.len()).then_some(elements)
}

fn nested(
    data: &RawValue,
    shape: &[u64],
    datatype: Datatype,
    author: Author,
    elements: &mut Vec<Vec<u8>>,
) -> Option<()> {
    let Some((size, inner)) = shape.split_first() else {
        elements.push(datatype.of_token(data.get(), author)?);
        return Some(());
    };
    let items = list(data)?;
    if items.len() as u64 != *size {
        return None;
    }
    items
        .into_iter()
        .try_for_each(|item| nested(item, inner, datatype, author, elements))
}

/// An answer, of which a reader may ignore what it does not know.
pub fn answer(body: &[u8], header_length: Option<usize>) -> Option<Answer> {
    let (header, mut rest) = body.split_at_checked(header_length.unwrap_or(body.len()))?;
    // What is ignored may be no text.
    let header = String::from_utf8_lossy(header);
    let header: &RawValue = serde_json::from_str(&header).ok()?;
    let [model, id, outputs] = members(header, ["model_name", "id", "outputs"], true)?;
    let outputs = list(outputs?)?.into_iter().map(|output| {
        let names = ["name", "shape", "datatype", "parameters", "data"];
        let [name, shape, datatype, parameters, data] = members(output, names, true)?;
        let datatype: String = read(datatype?)?;
        let shape: Vec<u64> = read(shape?)?;
        let parsed = Datatype::parse(&datatype)?;
        // A runtime may have anything there, numbers that no double holds among it.
        let all = optional(parameters).and_then(read::<Members<'_>>);
        let values = all.into_iter().flat_map(|all| all.0);
        let mut parameters: Parameters = values
            .filter_map(|(name, value)| Some((name, read(value)?)))
            .collect();
        let size = parameters.remove(DATA_SIZE);
        let is_text = size.is_none();
        let elements = match size {
            None => text(optional(data)?, &shape, parsed, Author::Runtime)?,
            Some(size) => {
                let (raw, behind) = rest.split_at_checked(usize::try_from(size.as_u64()?).ok()?)?;
                rest = behind;
                parsed.of_raw(raw, Author::Runtime)?
            }
        };
        Some(Tensor {
            name: read(name?)?,
            datatype,
            shape,
            parameters,
            elements,
            is_text,
        })
    });
    let answer = Answer {
        outputs: outputs.collect::<Option<_>>()?,
        model: model.and_then(read),
        id: optional(id).map_or(Some(None), |id| Some(Some(read(id)?)))?,
    };
    rest.is_empty().then_some(answer)
}
