"""`python -m cnn_tf`: the same as `cnn-tf`."""

from cnn_tf.cli import main

main()
