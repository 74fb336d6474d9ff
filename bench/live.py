"""What the live page's engines cost, forward and with a gradient, over ONNX Runtime Web's forward, all in Node.

ONNX Runtime Web is the maintained runtime that a page would take instead; it has no backward pass. It comes from npm.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.rows import versus
from project.benches import Row
from project.repository import ROOT

VERSION = "1.30.0"
ROUNDS = 7
NETWORKS = {"coursenet": "CourseNet, 96 px", "lite0": "EfficientNet-Lite0, 224 px"}
PEER = "ONNX Runtime Web, forward"
AGAINST = "ONNX Runtime Web's forward, one thread"


def measured(rounds: int = ROUNDS) -> dict[str, dict[str, list[float]]]:
    """Network -> what was run -> milliseconds of each round."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tools.live", folder], cwd=ROOT, check=True)
        install = ["npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, f"onnxruntime-web@{VERSION}"]
        subprocess.run(install, check=True)
        static = Path(folder, "static", "live")
        command = ["node", str(ROOT / "bench" / "live.js"), str(static), folder, str(rounds)]
        found: dict[str, dict[str, list[float]]] = json.loads(
            subprocess.run(command, check=True, capture_output=True).stdout
        )
        return found


def rows() -> Iterator[Row]:
    for network, runs in measured().items():
        theirs = [t / 1000 for t in runs.pop(PEER)]
        for what, milliseconds in runs.items():
            ours = [t / 1000 for t in milliseconds]
            yield versus(f"live page, {NETWORKS[network]}, {what}", AGAINST, ours, theirs)
