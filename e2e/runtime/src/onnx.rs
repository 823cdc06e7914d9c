//! The demo network as an ONNX model: opset 13, a symbolic batch dimension, weights as initializers. The bytes are what any
//! ONNX reader takes; `runtime export` writes them, and the server itself reads them through tract's ONNX parser.

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
};

use crate::network::{Architecture, ECHO, INPUT, Layer, OUTPUT, TAG};

/// The first IR version that knows opset 13.
const IR_VERSION: i64 = 7;
const OPSET: i64 = 13;
/// Name of the symbolic batch dimension.
const BATCH: &str = "N";

/// The network with its weights.
pub(crate) fn model(architecture: Architecture) -> ModelProto {
    ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        model_version: 1,
        graph: Some(graph(architecture)),
        ..ModelProto::default()
    }
}

fn graph(architecture: Architecture) -> GraphProto {
    let (tag, columns) = (signed(TAG), signed(architecture.columns));
    let mut initializer = vec![
        integers("tag_start", &[0]),
        integers("tag_end", &[tag]),
        integers("features_end", &[columns]),
        integers("column_axis", &[1]),
    ];
    let mut nodes = vec![
        node(
            "Slice",
            "echo_slice",
            &[INPUT, "tag_start", "tag_end", "column_axis"],
            ECHO,
        ),
        node(
            "Slice",
            "features_slice",
            &[INPUT, "tag_end", "features_end", "column_axis"],
            "features",
        ),
    ];
    let last = architecture.dimensions().len() - 1;
    let mut previous = "features".to_owned();
    for (index, layer) in architecture.layers().enumerate() {
        let (weights, biases) = (format!("layer{index}_weights"), format!("layer{index}_biases"));
        let sum = if index == last {
            OUTPUT.to_owned()
        } else {
            format!("layer{index}_sum")
        };
        let mut gemm = node(
            "Gemm",
            &format!("layer{index}"),
            &[&previous, &weights, &biases],
            &sum,
        );
        gemm.attribute.push(flag("transB"));
        nodes.push(gemm);
        previous = format!("layer{index}_activation");
        if index < last {
            nodes.push(node("Relu", &format!("layer{index}_relu"), &[&sum], &previous));
        }
        let Layer {
            inputs,
            outputs,
            weights: matrix,
            biases: vector,
        } = layer;
        initializer.push(floats(weights, &[outputs, inputs], &matrix));
        initializer.push(floats(biases, &[outputs], &vector));
    }
    GraphProto {
        name: "weight_streaming_mlp".to_owned(),
        node: nodes,
        initializer,
        input: vec![rows_of(INPUT, columns)],
        output: vec![rows_of(OUTPUT, signed(architecture.classes)), rows_of(ECHO, tag)],
        ..GraphProto::default()
    }
}

fn node(operator: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        name: name.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn flag(name: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: 1,
        ..AttributeProto::default()
    }
}

fn floats(name: String, dimensions: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name,
        dims: dimensions.iter().copied().map(signed).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![signed(values.len())],
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// A single-precision tensor of any number of rows.
fn rows_of(name: &str, columns: i64) -> ValueInfoProto {
    let dimension = |value| Dimension {
        value: Some(value),
        ..Dimension::default()
    };
    let dim = vec![
        dimension(dimension::Value::DimParam(BATCH.to_owned())),
        dimension(dimension::Value::DimValue(columns)),
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
fn signed(size: usize) -> i64 {
    size as i64
}
