"""The network in Triton's Python backend: the requests of a batch are joined, run at once, and parted."""

import os
import sys

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, arguments):
        folder = os.path.join(arguments["model_repository"], arguments["model_version"])
        sys.path.insert(0, folder)
        import session

        self.network = session.load(os.path.join(folder, "network.onnx"))

    def execute(self, requests):
        inputs = [triton.get_input_tensor_by_name(request, "input").as_numpy() for request in requests]
        outputs = self.network.run(["output", "echo"], {"input": np.concatenate(inputs)})
        ends = np.cumsum([len(rows) for rows in inputs])[:-1]
        output, echo = (np.split(rows, ends) for rows in outputs)
        return [
            triton.InferenceResponse([triton.Tensor("output", first), triton.Tensor("echo", second)])
            for first, second in zip(output, echo)
        ]
