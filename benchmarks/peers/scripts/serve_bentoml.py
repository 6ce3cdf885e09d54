"""BentoML: base64 in JSON, batched by its dispatcher."""

import base64
import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    command = [sys.executable, "-m", "bentoml", "serve", "serve_bentoml:Predict", "--working-dir", here]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", os.environ["PEER_PORT"]])

import bentoml
import numpy as np
from model import Model, arguments, decode


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 1000})
class Predict:
    def __init__(self) -> None:
        self.model = Model(arguments()[0])

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000, route="/predict")
    def predict(self, pictures: list[str]) -> list[str]:
        answer = self.model(np.stack([decode(base64.b64decode(picture)) for picture in pictures]))
        return [base64.b64encode(row.tobytes()).decode() for row in answer]
