"""What it costs to import a client: ours against TensorFlow Serving's own Python API, one after the other in fresh processes.

python -m benchmarks.client_import
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from benchmarks import report

MODULES = ("serving.client", "tensorflow_serving.apis.predict_pb2")
ROUNDS = 5

PROBE = """
import json, resource, sys, time
begin = time.perf_counter()
import {module}
seconds = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
loaded = [name for name in ("tensorflow", "keras") if name in sys.modules]
print(json.dumps([seconds, peak, loaded]))
"""


def measure(module: str) -> tuple[float, float, list[str]]:
    """Seconds, peak memory in MiB, and which of TensorFlow and Keras a fresh process has loaded after the import."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)], capture_output=True, text=True, check=True
    )
    seconds, peak, loaded = json.loads(result.stdout)
    return seconds, peak / 2**20, loaded


def main() -> None:
    samples = {
        module: [measure(module) for _ in range(ROUNDS + 1)][1:] for module in MODULES
    }  # the first warms the disk
    median = {module: statistics.median(sample[0] for sample in samples[module]) for module in MODULES}
    rows: list[dict[str, object]] = [
        {
            "import": f"`{module}`",
            "seconds (median of 5)": f"{median[module]:.2f}",
            "peak memory, MiB": f"{max(sample[1] for sample in samples[module]):.0f}",
            "loads": ", ".join(samples[module][0][2]) or "neither TensorFlow nor Keras",
            "ratio of seconds": f"{median[module] / median[MODULES[0]]:.1f}",
        }
        for module in MODULES
    ]
    print(report.write("client_import", "Importing a client", rows))


if __name__ == "__main__":
    main()
