"""A model that gives every input back under the name of an output."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = [
            ResponseOutput(name=f"OUTPUT{index}", shape=tensor.shape, datatype=tensor.datatype, data=tensor.data)
            for index, tensor in enumerate(payload.inputs)
        ]
        return InferenceResponse(model_name=self.name, model_version="1", id=payload.id, outputs=outputs)
