"""A model that gives both inputs back under the names of its outputs."""

import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        def answer(request):
            pairs = [(f"INPUT{index}", f"OUTPUT{index}") for index in range(2)]
            rows = [(triton.get_input_tensor_by_name(request, name).as_numpy(), output) for name, output in pairs]
            return triton.InferenceResponse([triton.Tensor(output, values) for values, output in rows])

        return [answer(request) for request in requests]
