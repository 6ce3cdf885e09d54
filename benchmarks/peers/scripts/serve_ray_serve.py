"""Ray Serve: one replica, its own batching."""

import logging
import time

import numpy as np
import ray
from model import arguments, decode
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

version, port = arguments()


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Predict:
    def __init__(self, version: str) -> None:
        from model import Model

        self.model = Model(version)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def run(self, images):
        return list(self.model(np.stack(images)))

    async def __call__(self, request: Request) -> Response:
        answer = await self.run(decode(await request.body()))
        return Response(answer.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Predict.bind(version), route_prefix="/predict")
    while True:
        time.sleep(3600)
