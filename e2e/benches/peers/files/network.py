"""Writes the network that all servers run: three layers on 126 features, and the two columns before them as they are, for whoever asks to know its own row."""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLUMNS, TAG, WIDTH, CLASSES = 128, 2, 1024, 16
random = np.random.default_rng(1)
constants = {
    "start": np.array([0]),
    "tag": np.array([TAG]),
    "end": np.array([COLUMNS]),
    "axis": np.array([1]),
}
nodes = [
    helper.make_node("Slice", ["input", "start", "tag", "axis"], ["echo"]),
    helper.make_node("Slice", ["input", "tag", "end", "axis"], ["features"]),
]
previous = "features"
for layer, (rows, columns) in enumerate([(COLUMNS - TAG, WIDTH), (WIDTH, WIDTH), (WIDTH, CLASSES)]):
    constants[f"weights{layer}"] = (random.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
    constants[f"biases{layer}"] = random.standard_normal(columns).astype(np.float32)
    last = columns == CLASSES
    total = "output" if last else f"sum{layer}"
    nodes.append(helper.make_node("Gemm", [previous, f"weights{layer}", f"biases{layer}"], [total]))
    if not last:
        previous = f"active{layer}"
        nodes.append(helper.make_node("Relu", [total], [previous]))


def rows_of(name, columns):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns])


graph = helper.make_graph(
    nodes,
    "network",
    [rows_of("input", COLUMNS)],
    [rows_of("output", CLASSES), rows_of("echo", TAG)],
    [numpy_helper.from_array(value, name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, sys.argv[1])
