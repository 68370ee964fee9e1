"""Real processes for the tests of several processes that train together."""

from __future__ import annotations

import subprocess
import sys

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def completed(command: list[str]) -> None:
    """Run ``command`` to its end, which must be a success."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
