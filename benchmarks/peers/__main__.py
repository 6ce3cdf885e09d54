"""`python -m benchmarks.peers --peers-dir FOLDER`: installs the peers."""

import argparse
import sys
from pathlib import Path

from benchmarks import peers

parser = argparse.ArgumentParser()
parser.add_argument("--peers-dir", type=Path, required=True)
refused = peers.install(parser.parse_args().peers_dir)
for name, reason in refused.items():
    print(f"{name}: not installed: {reason}")
sys.exit(bool(refused))
