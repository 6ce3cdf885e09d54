import subprocess
import sys

CODE = """
import sys
from serving.server import imports
tensorflow = imports.tensorflow()
print(sorted({"keras", "matplotlib"} & set(sys.modules)))
print(tensorflow.keras.layers.Dense(3)(tensorflow.ones((2, 1))).shape)
"""


def test_tensorflow_comes_without_keras_which_can_be_had_later():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "(2, 3)"]
