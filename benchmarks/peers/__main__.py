"""`python -m benchmarks.peers --peers-dir FOLDER`: installs the peers."""

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks import peers

parser = argparse.ArgumentParser()
parser.add_argument("--peers-dir", type=Path, required=True)
arguments = parser.parse_args()
if shutil.which("uv") is None:
    sys.exit("uv is needed, which gets the Python that each peer wants. Install it with: pip install uv")
refused = peers.install(arguments.peers_dir)
for name, reason in refused.items():
    print(f"{name}: not installed: {reason}")
sys.exit(bool(refused))
