"""What MLServer serves: an echo, and the network."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

import session


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (tensor,) = payload.inputs
        output = ResponseOutput(name="output", shape=tensor.shape, datatype=tensor.datatype, data=tensor.data)
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])


class Network(MLModel):
    async def load(self) -> bool:
        self.network = session.load(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        outputs = self.network.run(["output", "echo"], {"input": rows})
        named = [NumpyCodec.encode_output(name, rows) for name, rows in zip(["output", "echo"], outputs)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=named)
