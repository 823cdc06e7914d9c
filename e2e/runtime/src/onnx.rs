//! ONNX models as the server writes and reads them: a symbolic batch dimension, weights as initializers. The bytes are what
//! any ONNX reader takes; `runtime export` writes them, and the server itself reads them through tract's ONNX parser.

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
};

use crate::network::{ECHO, INPUT, Layer, OUTPUT, TAG};

/// The first IR version that knows opset 13.
const IR_VERSION: i64 = 7;
const OPSET: i64 = 13;
/// Name of the symbolic batch dimension.
const BATCH: &str = "N";
/// Name of the tensor [rows, columns - tag] that the network reads.
pub(crate) const FEATURES: &str = "features";

/// A graph that grows node by node. A node's output has the node's name.
#[derive(Debug)]
pub(crate) struct Graph {
    name: &'static str,
    columns: usize,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Graph {
    /// Rows of `columns` numbers, taken apart into [`ECHO`] and [`FEATURES`].
    pub(crate) fn new(name: &'static str, columns: usize) -> Self {
        let mut graph = Self {
            name,
            columns,
            nodes: Vec::new(),
            initializers: Vec::new(),
        };
        let start = graph.integers("tag_start", &[0]);
        let tag = graph.integers("tag_end", &[signed(TAG)]);
        let end = graph.integers("features_end", &[signed(columns)]);
        let axis = graph.integers("column_axis", &[1]);
        graph.node("Slice", ECHO, &[INPUT, &start, &tag, &axis]);
        graph.node("Slice", FEATURES, &[INPUT, &tag, &end, &axis]);
        graph
    }

    /// Adds a node without attributes, and gives the name of its output.
    pub(crate) fn node(&mut self, operator: &str, name: &str, inputs: &[&str]) -> String {
        self.node_with(operator, name, inputs, Vec::new())
    }

    /// Adds a node, and gives the name of its output.
    pub(crate) fn node_with(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.nodes.push(NodeProto {
            op_type: operator.to_owned(),
            name: name.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        name.to_owned()
    }

    /// A fully connected layer on a tensor of two dimensions.
    pub(crate) fn dense(&mut self, name: &str, input: &str, layer: &Layer) -> String {
        let weights = self.floats(
            &format!("{name}_weights"),
            &[layer.outputs, layer.inputs],
            &layer.weights,
        );
        let biases = self.floats(&format!("{name}_biases"), &[layer.outputs], &layer.biases);
        self.node_with(
            "Gemm",
            name,
            &[input, &weights, &biases],
            vec![integer("transB", 1)],
        )
    }

    /// The same numbers in another shape; a dimension 0 is that of the input.
    pub(crate) fn reshape(&mut self, name: &str, input: &str, shape: &[usize]) -> String {
        let shape = shape.iter().copied().map(signed).collect::<Vec<_>>();
        let shape = self.integers(&format!("{name}_shape"), &shape);
        self.node("Reshape", name, &[input, &shape])
    }

    /// Adds a constant, and gives its name.
    pub(crate) fn floats(&mut self, name: &str, dimensions: &[usize], values: &[f32]) -> String {
        self.initializers.push(TensorProto {
            name: name.to_owned(),
            dims: dimensions.iter().copied().map(signed).collect(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        name.to_owned()
    }

    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        self.initializers.push(TensorProto {
            name: name.to_owned(),
            dims: vec![signed(values.len())],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        name.to_owned()
    }

    /// Takes in the graph of another model, which must have no name of ours.
    pub(crate) fn append(&mut self, graph: GraphProto) {
        self.nodes.extend(graph.node);
        self.initializers.extend(graph.initializer);
    }

    /// The finished graph; a node named [`OUTPUT`] computes `classes` numbers a row.
    pub(crate) fn finish(self, classes: usize) -> GraphProto {
        GraphProto {
            name: self.name.to_owned(),
            node: self.nodes,
            initializer: self.initializers,
            input: vec![rows_of(INPUT, self.columns)],
            output: vec![rows_of(OUTPUT, classes), rows_of(ECHO, TAG)],
            ..GraphProto::default()
        }
    }

    /// The finished graph as a model of its own.
    pub(crate) fn model(self, classes: usize) -> ModelProto {
        ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            model_version: 1,
            graph: Some(self.finish(classes)),
            ..ModelProto::default()
        }
    }
}

/// An attribute that is a number.
pub(crate) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

/// An attribute that is a list of numbers.
pub(crate) fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// A single-precision tensor of any number of rows.
fn rows_of(name: &str, columns: usize) -> ValueInfoProto {
    let dimension = |value| Dimension {
        value: Some(value),
        ..Dimension::default()
    };
    let dim = vec![
        dimension(dimension::Value::DimParam(BATCH.to_owned())),
        dimension(dimension::Value::DimValue(signed(columns))),
    ];
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

#[expect(clippy::cast_possible_wrap, reason = "sizes of tensors, at most 2^26")]
pub(crate) fn signed(size: usize) -> i64 {
    size as i64
}
