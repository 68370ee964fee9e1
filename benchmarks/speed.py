"""How fast networks are beside one another: ``python -m benchmarks.speed NETWORK ... --size 640x360``.

Every network gets LR images that give the same output; the rounds go through all of them in turn, so that whatever
else the machine does falls on all alike. Printed are medians as ratios to the first network, and to real time.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch

from hkdsr.nets.files.load import load
from hkdsr.scoring import cost, milliseconds

FRAMES = 24  # a second of film


def size(text: str) -> tuple[int, int]:
    """Width and height in pixels of "640x360"; ValueError, which argparse explains, for what is no size."""
    width, height = map(int, text.split("x"))
    return width, height


def main() -> None:
    """Print each network's parameters, multiply-adds and time relative to the first's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", help="checkpoints or shipped networks")
    parser.add_argument("--size", type=size, default=size("640x360"), help="of the output, as in 640x360")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    width, height = arguments.size
    networks = {name: load(name) for name in arguments.networks}
    costs = {name: cost(network, (width, height)) for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(arguments.rounds):
        for name, network in networks.items():
            times[name].append(milliseconds(network, costs[name].lr, runs=3))
    first = median(times[arguments.networks[0]])
    print(
        f"output {width}x{height}, {arguments.threads} CPU threads, medians of {arguments.rounds} rounds; "
        f"real time: {FRAMES} a second"
    )
    for name, network in networks.items():
        found, taken = costs[name], median(times[name])
        print(
            f"{name}: x{network.scale}, {found.params / 1e3:.1f} K parameters, {found.macs / 1e9:.2f} G multiply-adds, "
            f"{taken / first:.2f} times the first's time, {1000 / taken / FRAMES:.1f} times real time"
        )


if __name__ == "__main__":
    main()
