"""The classic CNN lineage in the Keras 3 functional API. One paper a file; every model ends in logits.

    model = cnn_tf.build("lenet5_bn", input_shape=(28, 28, 1), num_classes=10)

`MODELS` and `build` come from cnn_tf.models, which is imported when first used: the command line lives in this package too,
and must start without Keras, or run where it is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_tf.models import MODELS, build

__all__ = ["MODELS", "build"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnn_tf import models

    return getattr(models, name)
