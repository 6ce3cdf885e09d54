"""What happens to data and models, a stage a file: prepare, train, evaluate, export.

A stage reads a folder and writes a folder, complete or not at all, so each can be run alone, again, or elsewhere.
"""

import sys

# While Python looks for `python -m pipelines.STAGE`, this is all that sys.argv tells; the stage itself will import
# TensorFlow before anybody can ask it to be quiet.
if sys.argv[0] == "-m":
    from cnn_tf.quiet import import_tensorflow

    import_tensorflow()
