"""NVIDIA's own clients of the protocol before a gateway with applications that are named after what their runtimes speak.

Every input comes back under the name of an output. Any value that differs ends the script with an error.
"""

import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
MODEL = "mlp"

VALUES = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.array([[0, 7, 255]], np.uint8),
    "UINT16": np.array([[0, 7, 65535]], np.uint16),
    "UINT32": np.array([[0, 7, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 7, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 0, 127]], np.int8),
    "INT16": np.array([[-(2**15), 0, 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 0, 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 0, 2**63 - 1]], np.int64),
    "FP32": np.array([[0.1, -3.4028235e38, 1.1754944e-38]], np.float32),
    "FP64": np.array([[0.1, -1.7976931348623157e308, 5e-324]], np.float64),
    "BYTES": np.array([["naïve", "", 'a "quoted" \\ \n']], object),
    "FP16": np.array([[0.1, -65504, 6e-8]], np.float16),
}


def inputs(library, datatypes, **how):
    tensors = []
    for index, datatype in enumerate(datatypes):
        values = VALUES[datatype]
        tensor = library.InferInput(f"INPUT{index}", list(values.shape), datatype)
        tensor.set_data_from_numpy(values, **how)
        tensors.append(tensor)
    return tensors


def check(result, datatypes, what):
    for index, datatype in enumerate(datatypes):
        expected, found = VALUES[datatype], result.as_numpy(f"OUTPUT{index}")
        if datatype == "BYTES":
            found = np.array([[x if isinstance(x, str) else x.decode() for x in row] for row in found], object)
        assert found is not None, f"{what}: OUTPUT{index} is missing"
        assert found.dtype == expected.dtype, f"{what} {datatype}: {found.dtype}"
        assert found.shape == expected.shape, f"{what} {datatype}: {found.shape}"
        assert (found == expected).all(), f"{what} {datatype}: {found}"


def refused(call, status, says):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status, (error.status(), str(error))
        assert says in error.message(), error.message()
    else:
        raise AssertionError(f"{says}: was not refused")


def over_http(runtime, datatypes):
    client = http.InferenceServerClient(f"{ADDRESS}/shop/{runtime}")
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata(MODEL)["name"] == MODEL
    common = [datatype for datatype in datatypes if datatype != "FP16"]
    for binary_in in (True, False):
        for binary_out in (True, False):
            what = f"{runtime} over HTTP, binary in {binary_in}, out {binary_out}"
            sent = datatypes if binary_in and binary_out else common
            asked = [http.InferRequestedOutput(f"OUTPUT{i}", binary_data=binary_out) for i in range(len(sent))]
            result = client.infer(
                MODEL, inputs(http, sent, binary_data=binary_in), outputs=asked, request_id=f"id {what}"
            )
            check(result, sent, what)
            response = result.get_response()
            assert response["id"] == f"id {what}", response
            assert ("data" in response["outputs"][0]) != binary_out, response
    # Without a list of outputs, the client asks for all of them as raw bytes.
    check(client.infer(MODEL, inputs(http, datatypes, binary_data=True)), datatypes, f"{runtime}, all outputs")
    mixed = inputs(http, ["FP32"], binary_data=True) + inputs(http, ["FP32", "INT8"], binary_data=False)[1:]
    check(client.infer(MODEL, mixed, parameters={"note": "x"}), ["FP32", "INT8"], f"{runtime}, mixed")
    refused(lambda: client.infer("other", inputs(http, ["INT8"], binary_data=True)), "404", "has no model other")
    if runtime.endswith("json"):
        fp16 = inputs(http, ["FP16"], binary_data=True)
        refused(lambda: client.infer(MODEL, fp16), "400", "inputs[0].data: is FP16")


def over_grpc(runtime, datatypes):
    client = grpc.InferenceServerClient(ADDRESS)
    headers = {"harmonybatch-app": f"shop/{runtime}"}
    assert client.is_server_live(headers=headers) and client.is_server_ready(headers=headers)
    assert client.is_model_ready(MODEL, headers=headers)
    assert client.get_server_metadata(headers=headers).name == "harmonybatch"
    assert client.get_model_metadata(MODEL, headers=headers).name == MODEL
    asked = [grpc.InferRequestedOutput(f"OUTPUT{i}") for i in range(len(datatypes))]
    for outputs in (asked, None):
        what = f"{runtime} over gRPC, outputs {outputs is not None}"
        result = client.infer(
            MODEL,
            inputs(grpc, datatypes),
            outputs=outputs,
            request_id=what,
            headers=headers,
            parameters={"note": "x", "depth": 3, "deep": True},
        )
        check(result, datatypes, what)
        assert result.get_response().id == what
    by_name = grpc.InferenceServerClient(
        ADDRESS, channel_args=[("grpc.default_authority", f"{runtime}-infer.shop:80")]
    )
    check(by_name.infer(MODEL, inputs(grpc, datatypes)), datatypes, f"{runtime} over gRPC, by authority")

    def call(model, **how):
        return lambda: client.infer(model, inputs(grpc, ["INT8"]), headers=headers, **how)
    refused(call("other"), "StatusCode.NOT_FOUND", "has no model other")
    if runtime.endswith("json"):
        halves = lambda: client.infer(MODEL, inputs(grpc, ["FP16"]), headers=headers)
        refused(halves, "StatusCode.INVALID_ARGUMENT", "inputs[0].data: is FP16")
    # More than the 4 MiB that most implementations of gRPC end at, in no more rows than a batch has.
    large = grpc.InferInput("INPUT0", [8, 2**18], "FP32")
    values = np.arange(2**21, dtype=np.float32).reshape(8, 2**18)
    large.set_data_from_numpy(values)
    if not runtime.endswith("json"):
        assert (client.infer(MODEL, [large], headers=headers).as_numpy("OUTPUT0") == values).all()


for runtime in sys.argv[2:]:
    datatypes = [datatype for datatype in VALUES if not runtime.endswith("json") or datatype != "FP16"]
    over_http(runtime, datatypes)
    over_grpc(runtime, datatypes)
    print(f"{runtime}: served")
