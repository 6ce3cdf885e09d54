"""PyTriton: NVIDIA's Triton with a Python backend and dynamic batching."""

import numpy as np
from model import Model, arguments
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

version, port = arguments()
model = Model(version)
shape = tuple(model.signature.structured_input_signature[1]["images"].shape[1:])
classes = model.signature.structured_outputs["probabilities"].shape[-1]


@batch
def infer(images):
    return {"probabilities": model(images)}


config = TritonConfig(http_port=port + 1, grpc_port=port, metrics_port=port + 2, http_address="127.0.0.1")
with Triton(config=config) as triton:
    triton.bind(
        model_name="model",
        infer_func=infer,
        inputs=[Tensor(name="images", dtype=np.float32, shape=shape)],
        outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(classes,))],
        config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=1000)),
    )
    triton.serve()
