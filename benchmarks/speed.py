"""How fast networks are, compared with the first: ``python -m benchmarks.speed NETWORK ... --size 640x360``.

A network's safetensors file or name is run by PyTorch, its ONNX file by ONNX Runtime.

Every network gets LR images that give the same output size. The networks are timed one after another in several
rounds, so that other work of the machine slows all alike. The medians are given as ratios to the first network and to
real time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from hkdsr.nets.files.load import load
from hkdsr.scoring import cost, milliseconds_in_turn

FRAMES = 24
"""Frames per second of real time, as in films."""


def size(text: str) -> tuple[int, int]:
    """Width and height in pixels from "640x360"; ValueError, which argparse reports, for any other text."""
    width, height = map(int, text.split("x"))
    return width, height


def main(words: Sequence[str] | None = None) -> None:
    """Print parameters, multiply-adds and relative time of each network. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", help="checkpoints or shipped networks")
    parser.add_argument("--size", type=size, default=size("640x360"), help="of the output, as in 640x360")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    width, height = arguments.size
    networks = {name: load(name) for name in arguments.networks}
    costs = {name: cost(network, (width, height)) for name, network in networks.items()}
    sizes = [costs[name].lr for name in networks]
    times = dict(zip(networks, milliseconds_in_turn([*networks.values()], sizes, arguments.rounds), strict=True))
    first = times[arguments.networks[0]]
    print(
        f"output {width}x{height}, {arguments.threads} CPU threads, medians of {arguments.rounds} rounds; "
        f"real time: {FRAMES} images per second"
    )
    for name, network in networks.items():
        found, taken = costs[name], times[name]
        counted = f"{found.params / 1e3:.1f} K parameters, {found.macs / 1e9:.2f} G multiply-adds, "
        print(
            f"{name}: x{network.scale}, {counted if found.params else ''}"
            f"{taken / first:.2f} times the time of the first, {1000 / taken / FRAMES:.1f} times real time"
        )


if __name__ == "__main__":
    main()
