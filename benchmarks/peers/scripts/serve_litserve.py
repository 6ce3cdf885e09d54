"""LitServe with its batching."""

import base64

import litserve
import numpy as np
from fastapi import Response
from model import Model, arguments, decode

version, port = arguments()


class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = Model(version)

    def decode_request(self, request):
        return decode(base64.b64decode(request["picture"]))

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, images):
        return self.model(images)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")
