"""MLServer: KServe's protocol over gRPC, adaptive batching."""

import asyncio
import os

from mlserver import MLModel, MLServer, ModelSettings, Settings, types
from mlserver.codecs import NumpyCodec
from model import Model, arguments

version, port = arguments()


class Predict(MLModel):
    async def load(self) -> bool:
        self.model = Model(version)
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        answer = self.model(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("probabilities", answer)
        return types.InferenceResponse(model_name=self.name, outputs=[output])


async def main() -> None:
    settings = Settings(
        host="127.0.0.1", http_port=port + 1, grpc_port=port, metrics_endpoint=None, parallel_workers=0, debug=False
    )
    model = ModelSettings(name="model", implementation=Predict, max_batch_size=32, max_batch_time=0.002)
    await MLServer(settings).start([model])


os.environ.setdefault("MLSERVER_LOG_LEVEL", "ERROR")
asyncio.run(main())
