//! A request of many rows as several of fewer, for a runtime that takes no more at a time. [`join`](crate::protocol::join) makes one answer of theirs.

use super::{
    super::{raw, tensor::Data, text},
    AnswerForm, Input, Request,
};

impl Request {
    /// Requests of at most `most` rows each, which have the rows of this one in their order; all but the last are full. Their answers shall be as this
    /// one's, but for typed contents, which are made of the whole. Data is cut where it lies, without a copy where it is raw.
    ///
    /// # Errors
    /// Where an input cannot be cut by rows.
    pub fn divide(&self, most: u32) -> Result<Vec<Self>, String> {
        let most = most.max(1);
        let rows: Vec<u64> = (0..self.rows.div_ceil(most))
            .map(|part| u64::from((self.rows - part * most).min(most)))
            .collect();
        let inputs = self.inputs.iter().map(|input| cut(input, &rows));
        let mut inputs: Vec<_> = inputs
            .map(|parts| Ok(parts?.into_iter()))
            .collect::<Result<_, String>>()?;
        let data = self.inputs.iter().map(|input| input.data.len()).sum();
        let beside = self.size.saturating_sub(data);
        let parts = rows.iter().map(|rows| {
            let inputs: Vec<Input> = inputs.iter_mut().filter_map(Iterator::next).collect();
            let data: usize = inputs.iter().map(|input| input.data.len()).sum();
            Self {
                id: None,
                parameters: self.parameters.clone(),
                inputs,
                outputs: self.outputs.clone(),
                answer: match self.answer {
                    AnswerForm::Grpc { .. } => AnswerForm::Grpc { typed: false },
                    rest @ AnswerForm::Rest { .. } => rest,
                },
                rows: u32::try_from(*rows).unwrap_or(most),
                size: data + beside,
            }
        });
        Ok(parts.collect())
    }
}

/// An input, cut after each of `rows`.
fn cut(input: &Input, rows: &[u64]) -> Result<Vec<Input>, String> {
    let data: Vec<Data> = match &input.data {
        Data::Text(text) => {
            let mut array = Vec::with_capacity(text.elements.len() + 2);
            array.push(b'[');
            array.extend_from_slice(&text.elements);
            array.push(b']');
            let parts = text::cut(&array.into(), &input.shape, input.datatype, rows)?;
            parts.into_iter().map(Data::Text).collect()
        }
        Data::Raw(raw) => {
            let parts = raw::cut(raw, &input.shape, input.datatype, rows)?;
            parts.into_iter().map(Data::Raw).collect()
        }
    };
    let parts = data.into_iter().zip(rows).map(|(data, rows)| {
        let mut shape = input.shape.clone();
        shape[0] = *rows;
        Input {
            name: input.name.clone(),
            datatype: input.datatype,
            shape,
            parameters: input.parameters.clone(),
            data,
        }
    });
    Ok(parts.collect())
}
