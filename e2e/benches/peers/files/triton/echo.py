"""An echo in Triton's Python backend."""

import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        def answer(request):
            rows = triton.get_input_tensor_by_name(request, "input").as_numpy()
            return triton.InferenceResponse([triton.Tensor("output", rows)])

        return [answer(request) for request in requests]
