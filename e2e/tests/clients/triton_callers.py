"""NVIDIA's clients before a gateway whose runtimes are NVIDIA's own server, in applications that are named after how it is asked.

Many requests are under way at once, so that they share batches; each must get back its own rows, and its id.
"""

import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
MODEL = "mlp"
AT_ONCE = 32


def values(number):
    """Of one or two rows, no two requests alike."""
    rows = 1 + number % 2
    numbers = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3) + np.float32(number) / 8
    texts = np.array([[f"naïve {number} {row}", '"\\'] for row in range(rows)], object)
    return numbers, texts


def inputs(library, number, **how):
    tensors = []
    for index, (datatype, rows) in enumerate(zip(["FP32", "BYTES"], values(number))):
        tensor = library.InferInput(f"INPUT{index}", list(rows.shape), datatype)
        tensor.set_data_from_numpy(rows, **how)
        tensors.append(tensor)
    return tensors


def check(result, number, what):
    numbers, texts = values(number)
    found = result.as_numpy("OUTPUT0")
    assert found.dtype == np.float32 and found.shape == numbers.shape, f"{what}: {found}"
    assert (found == numbers).all(), f"{what}: {found} is not {numbers}"
    found = [[x if isinstance(x, str) else x.decode() for x in row] for row in result.as_numpy("OUTPUT1")]
    assert found == texts.tolist(), f"{what}: {found} is not {texts}"


def over_http(runtime):
    client = http.InferenceServerClient(f"{ADDRESS}/shop/{runtime}", concurrency=AT_ONCE)
    for binary in (True, False):
        asked = [http.InferRequestedOutput(f"OUTPUT{index}", binary_data=binary) for index in range(2)]
        under_way = [
            client.async_infer(MODEL, inputs(http, number, binary_data=binary), outputs=asked, request_id=f"id-{number}")
            for number in range(AT_ONCE)
        ]
        for number, request in enumerate(under_way):
            result = request.get_result()
            check(result, number, f"{runtime} over HTTP, binary {binary}")
            assert result.get_response()["id"] == f"id-{number}"
    # What Triton refuses is refused, and its reason told.
    try:
        client.infer(MODEL, inputs(http, 0, binary_data=True)[:1])
    except InferenceServerException as error:
        assert "input" in error.message(), error.message()
    else:
        raise AssertionError("a request without an input was not refused")


def over_grpc(runtime):
    client = grpc.InferenceServerClient(ADDRESS)
    headers = {"harmonybatch-app": f"shop/{runtime}"}
    for number in range(AT_ONCE):
        result = client.infer(MODEL, inputs(grpc, number), headers=headers, request_id=f"id-{number}")
        check(result, number, f"{runtime} over gRPC")
        assert result.get_response().id == f"id-{number}"


for runtime in sys.argv[2:]:
    over_http(runtime)
    over_grpc(runtime)
    print(f"{runtime}: served")
