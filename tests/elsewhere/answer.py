"""`python answer.py REQUESTS ANSWERS`: what SavedModels answer under this Python's TensorFlow; no package of ours.

REQUESTS: a pickled {folder: {signature: {input: list or array}}}. ANSWERS: a pickled {"tensorflow": its version,
"graph_version": int, "operators": names of all that it knows, "answers": {folder: {signature: {output: array}}}}.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session


def main(requests: str, answers: str) -> None:
    asked = pickle.loads(Path(requests).read_bytes())
    found = {
        "tensorflow": tf.__version__,
        "graph_version": tf.version.GRAPH_DEF_VERSION,
        "operators": operators(),
        "answers": {version: ask(version, signatures) for version, signatures in asked.items()},
    }
    Path(answers).write_bytes(pickle.dumps(found))


def ask(version, requests):
    signatures = tf.saved_model.load(version).signatures
    return {
        name: {
            key: value.numpy()
            for key, value in signatures[name](**{k: tf.constant(v) for k, v in inputs.items()}).items()
        }
        for name, inputs in requests.items()
    }


def operators():
    serialized = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {operator.name for operator in op_def_pb2.OpList.FromString(serialized).op}


if __name__ == "__main__":
    main(*sys.argv[1:])
