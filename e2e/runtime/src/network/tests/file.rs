//! A network from a file behind nodes of ours. The file is made here: a 1 x 1 convolution and the mean over the image, so
//! that the answer is known in closed form. Its names are those that the wrapping uses itself.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

use super::{assert_close, check};
use crate::engine::{Batch, Engine};
use crate::network::file::{Error, prefix_names, wrap};
use crate::network::image::Image;
use crate::network::{INPUT, OUTPUT, TAG};
use crate::onnx::integer;
use crate::tract::Plan;

const IMAGE: Image = Image {
    channels: 2,
    height: 3,
    width: 5,
};
const WEIGHTS: [[f32; 2]; 3] = [[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5]];
const BIASES: [f32; 3] = [0.1, -0.2, 0.3];

fn value(name: &str, dimensions: &[Option<i64>]) -> ValueInfoProto {
    let dim = dimensions
        .iter()
        .map(|size| Dimension {
            value: Some(match size {
                Some(size) => dimension::Value::DimValue(*size),
                None => dimension::Value::DimParam("?".to_owned()),
            }),
            ..Dimension::default()
        })
        .collect();
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

fn constant(name: &str, dims: &[i64], float_data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: float_data.to_vec(),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

/// A file of the time before IR version 4: constants are listed as inputs too.
fn file(input: &[Option<i64>]) -> ModelProto {
    let graph = GraphProto {
        name: "means".to_owned(),
        node: vec![
            node("Conv", &[INPUT, "tag_start", "tag_end"], "features", vec![]),
            node("GlobalAveragePool", &["features"], OUTPUT, vec![]),
        ],
        initializer: vec![
            constant("tag_start", &[3, 2, 1, 1], WEIGHTS.as_flattened()),
            constant("tag_end", &[3], &BIASES),
        ],
        input: vec![
            value("tag_start", &[Some(3), Some(2), Some(1), Some(1)]),
            value(INPUT, input),
            value("tag_end", &[Some(3)]),
        ],
        output: vec![value(OUTPUT, &[None, Some(3), Some(1), Some(1)])],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 3,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 11,
        }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// The same, flattened as PaddlePaddle's exporter writes it: the shape is computed from the batch, through another type.
fn with_computed_shape() -> ModelProto {
    let mut model = file(&[None, Some(2), None, None]);
    let graph = model.graph.as_mut().unwrap();
    let bounds = [("from", 0), ("to", 1), ("classes", 3)];
    graph.initializer.extend(bounds.map(|(name, value)| TensorProto {
        name: name.to_owned(),
        dims: vec![1],
        data_type: DataType::Int32 as i32,
        int32_data: vec![value],
        ..TensorProto::default()
    }));
    let cast = |to: DataType| vec![integer("to", to as i64)];
    graph.node.extend([
        node("Shape", &[OUTPUT], "shape", vec![]),
        node("Cast", &["shape"], "shape32", cast(DataType::Int32)),
        node("Slice", &["shape32", "from", "to", "from"], "batch32", vec![]),
        node("Cast", &["batch32"], "batch", cast(DataType::Int64)),
        node("Cast", &["classes"], "classes64", cast(DataType::Int64)),
        node(
            "Concat",
            &["batch", "classes64"],
            "flat_shape",
            vec![integer("axis", -1)],
        ),
        node("Reshape", &[OUTPUT, "flat_shape"], "flat", vec![]),
    ]);
    graph.output = vec![value("flat", &[None, Some(3)])];
    model
}

/// The mean of a convolution of 1 x 1 is that convolution of the means.
fn closed_form(row: &[f32]) -> Vec<f64> {
    let area = IMAGE.height * IMAGE.width;
    let means = row[TAG..]
        .chunks(area)
        .map(|plane| plane.iter().map(|&value| f64::from(value)).sum::<f64>() / 15.0)
        .collect::<Vec<_>>();
    let class = |(weights, &bias): (&[f32; 2], &f32)| {
        f64::from(weights[0]) * means[0] + f64::from(weights[1]) * means[1] + f64::from(bias)
    };
    WEIGHTS.iter().zip(&BIASES).map(class).collect()
}

#[test]
fn a_wrapped_file_answers_every_row_of_every_batch() {
    let open = [None, Some(2), None, None];
    let fixed = [None, Some(2), Some(3), Some(5)];
    // Some exporters write the batch that they traced.
    let one_row = [Some(1), Some(2), Some(3), Some(5)];
    for (input, image) in [
        (open, Some(IMAGE)),
        (fixed, None),
        (fixed, Some(IMAGE)),
        (one_row, None),
    ] {
        let (model, found, classes) = wrap(file(&input), image).unwrap();
        assert_eq!((found, classes), (IMAGE, 3));
        check(&model, TAG + IMAGE.numbers(), &[1, 2, 5, 16], closed_form);
    }
    // So that the closed form is not the only witness of itself.
    let row = [&[0.0; TAG][..], &[1.0; 15], &[0.0; 15]].concat();
    let classes = closed_form(&row);
    assert_close(&[0.6, 1.8, -0.45], &classes, "a white plane and a black one");
}

#[test]
fn a_network_that_computes_shapes_from_its_batch_gets_a_plan_for_each_size() {
    let (model, _, classes) = wrap(with_computed_shape(), Some(IMAGE)).unwrap();
    assert_eq!(classes, 3);
    let columns = TAG + IMAGE.numbers();
    check(&model, columns, &[1, 2, 5, 16], closed_form);
    let mut plan = Plan::of_each_size(&model, columns, 2).unwrap();
    let values = vec![0.0; 3 * columns];
    let error = plan.infer(Batch { rows: 3, values }).unwrap_err();
    assert!(error.to_string().contains("3 rows"), "{error}");
}

#[test]
fn what_cannot_be_wrapped_is_said() {
    let open = [None, Some(2), None, None];
    let refused = |model, image| wrap(model, image).unwrap_err().to_string();
    let says = |model, image, expected: &str| {
        let found = refused(model, image);
        assert!(found.contains(expected), "{found} for {expected}");
    };
    says(file(&open), None, "say it with --image");
    let three = Image { channels: 3, ..IMAGE };
    says(file(&open), Some(three), "[2, -1, -1]");
    says(file(&open[..3]), Some(IMAGE), "not of the shape");
    says(ModelProto::default(), None, "opset 0");
    let mut model = file(&open);
    model.opset_import[0].version = 9;
    says(model, Some(IMAGE), "opset 9");
    let mut model = file(&open);
    model.graph = None;
    assert!(matches!(wrap(model, Some(IMAGE)), Err(Error::NoGraph)));
    let mut model = file(&open);
    model.graph.as_mut().unwrap().initializer.pop();
    says(model, Some(IMAGE), "tag_end");
    let mut model = file(&open);
    model.graph.as_mut().unwrap().output.clear();
    assert!(matches!(wrap(model, Some(IMAGE)), Err(Error::NoOutput)));
}

#[test]
fn an_output_that_mixes_the_rows_is_refused() {
    let mut model = file(&[None, Some(2), Some(3), Some(5)]);
    let graph = model.graph.as_mut().unwrap();
    graph
        .node
        .push(node("Flatten", &[OUTPUT], "all", vec![integer("axis", 0)]));
    graph.output = vec![value("all", &[None, None])];
    let error = wrap(model, None).unwrap_err();
    assert!(matches!(error, Error::Run { .. }), "{error}");
}

#[test]
fn names_inside_a_branch_follow_those_around_it() {
    let branch = GraphProto {
        node: vec![node("Add", &["outside", ""], "sum", vec![])],
        output: vec![value("sum", &[])],
        ..GraphProto::default()
    };
    let attribute = AttributeProto {
        name: "then_branch".to_owned(),
        g: Some(branch),
        ..AttributeProto::default()
    };
    let mut graph = GraphProto {
        node: vec![node("If", &["condition"], "outside", vec![attribute])],
        ..GraphProto::default()
    };
    prefix_names(&mut graph);
    let node = &graph.node[0];
    assert_eq!(
        (&node.input[0], &node.output[0]),
        (&"file/condition".to_owned(), &"file/outside".to_owned())
    );
    let branch = node.attribute[0].g.as_ref().unwrap();
    assert_eq!(branch.node[0].input, ["file/outside", ""]);
    assert_eq!(branch.node[0].output[0], branch.output[0].name);
}
