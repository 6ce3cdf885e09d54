"""mosec: a Rust front, one Python worker, batches of what waits."""

import sys

import numpy as np
from model import Model, arguments, decode
from mosec import Server, Worker

version, port = arguments()
# mosec reads its settings from the command line.
sys.argv = [sys.argv[0], f"--port={port}", "--address=127.0.0.1", "--timeout=30000"]


class Predict(Worker):
    def __init__(self):
        self.model = Model(version)

    def deserialize(self, data):
        return decode(data)

    def serialize(self, data):
        return data.tobytes()

    def forward(self, data):
        return list(self.model(np.stack(data)))


if __name__ == "__main__":
    server = Server()
    server.append_worker(Predict, num=1, max_batch_size=32, max_wait_time=1)
    server.run()
