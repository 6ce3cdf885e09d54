"""What an engine can be told: the part of the server's flags that concerns how a model is loaded and run."""

from __future__ import annotations

from dataclasses import dataclass

MIXED_PRECISIONS = ("", "bfloat16")


@dataclass(frozen=True)
class EngineOptions:
    """Settings of all models of a server, called as TensorFlow Serving's flags are."""

    saved_model_tags: str = "serve"
    """Tags of the graph to load, comma separated."""
    intra_op_parallelism: int = 0
    """Threads that one operation may use; 0: chosen for each model by measurement."""
    inter_op_parallelism: int = 0
    """Calls that run at once; 0: chosen for each model by measurement. Each runs its operations one after the other."""
    session_parallelism: int = 0
    """Both of the above, where they are 0."""
    session_config: bytes | None = None
    """A serialized ConfigProto: where given, nothing is chosen, and models run as it says."""
    mixed_precision: str = ""
    """"bfloat16": compute in bfloat16 where the processor can; "": as the model says."""
    prefer_tflite: bool = False
    """Whether a `model.tflite` in the version's folder is served rather than its SavedModel."""
    num_tflite_pools: int = 0
    """How many groups of interpreters; 0: one a processor."""
    num_tflite_interpreters_per_pool: int = 1
    xla_cpu_compilation: bool = False
    """Compile with XLA; slower than TensorFlow's own kernels for most networks."""
    per_process_gpu_memory_fraction: float = 0.0
    """Of each GPU's memory, for this process; 0: as TensorFlow chooses."""
    optimise: bool = True
    """Whether to freeze variables and fold batch normalization where that leaves the answers as they are."""

    @property
    def tags(self) -> frozenset[str]:
        """The tags as a set."""
        return frozenset(tag.strip() for tag in self.saved_model_tags.split(",") if tag.strip())
