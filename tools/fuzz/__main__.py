"""``python -m tools.fuzz``: run the cases, print one JSON line for each, and end with exit code 1 after a fault."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import torch

from tools.fuzz.cases import FAULT, KINDS, outcome
from tools.fuzz.workers import outcomes

SEED = 20251


def main() -> int:
    """The exit code: 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    for kind, count in (("images", 1000), ("models", 200), ("recipes", 200), ("formats", 60)):
        parser.add_argument(f"--{kind}", type=int, default=count, help=f"number of {kind}, by default {count}")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=2, help="child processes")
    parser.add_argument("--case", help="run this one alone, here, and keep its file in the current folder")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    if settings.case:
        return _again(settings.case, settings.seed)
    counts = {kind: getattr(settings, f"{kind}s") for kind in KINDS}
    cases = [f"{kind}-{number:04}" for kind, count in counts.items() for number in range(count)]
    found: Counter[str] = Counter()
    start = time.monotonic()
    for case, said in outcomes(cases, lambda case, folder: outcome(case, settings.seed, folder), settings.workers):
        found[f"{case.partition('-')[0]} {said.partition(':')[0]}"] += 1
        print(json.dumps({"case": case, "outcome": said}), flush=True)
    counted = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
    print(f"{counted}; {time.monotonic() - start:.0f} s", file=sys.stderr)
    return int(any(name.endswith(FAULT) for name in found))


def _again(case: str, seed: int) -> int:
    folder = Path(case)
    folder.mkdir()
    said = outcome(case, seed, folder)
    print(json.dumps({"case": case, "outcome": said}))
    return int(said.startswith(FAULT))


if __name__ == "__main__":
    sys.exit(main())
