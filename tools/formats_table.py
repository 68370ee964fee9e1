"""Write ``docs/formats.md``: every family of students in every format, and what 8-bit numbers lose and gain.

    python -m tools.formats_table [--benchmarks FOLDER] [--calibration FOLDER] [FILE ...]

Each network is exported, which compares a whole photograph and a cut of it; then the file is opened again and enlarges
images of three sizes. Networks are the shipped ones, a small one of every family with random weights, and FILEs. With
``--benchmarks``, the folder of Set5 and Set14, shipped networks are exported in 8 bits too.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from hkdsr import evaluate, export, load
from hkdsr.data import rgb
from hkdsr.data.embedded import demo_files
from hkdsr.deploy.formats import FORMATS
from hkdsr.errors import HkdsrError
from hkdsr.nets import Network
from hkdsr.nets.files.load import build
from hkdsr.scoring.cost import milliseconds_in_turn
from hkdsr.scoring.inference import super_resolve

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
SHIPPED = ("small_x2", "tiny_x4")
SMALL = (
    *("bsrn:features=16,blocks=2", "compact:features=8,convs=2", "edsr:features=8,blocks=2"),
    *("hitsrf:features=32,groups=2,blocks=2,heads=2,mlp_dim=16", "hpinet:dim=8,blocks=2,layers=1,qk_dim=4,mlp_dim=8"),
    *("imdn:features=16,blocks=2", "msrresnet:features=8,blocks=2", "rcan:groups=2,blocks=1,features=8,reduction=4"),
    *("rlfn:features=8,blocks=2,esa_channels=4", "smfanet:dim=8,blocks=2", "span:features=8", "span:attention=0"),
    "swinir:features=8,groups=2,blocks=2,heads=2,upsampler=pixelshuffledirect",
)
SIZES = ((48, 40), (37, 53), (64, 64))
SETS = ("Set5", "Set14")
TIMED, ROUNDS = (360, 640), 9
TEXT = """# What runs where

Networks in every format of `hkdsr export`. A cell says how close the images of the file are to the network's own, at
worst, in dB between both: over a whole photograph and a cut of odd sides (the gate: 70 dB, 2 levels of 255, 0.01 dB of
PSNR-Y), and over LR images of 48x40, 37x53 and 64x64, for which the file was opened again. Or it says why nothing was
written. Networks with settings have random weights; the names without are shipped, or public files.

Written by `{command}`.

"""
INT8 = """
## 8 bits

OpenVINO in 8 bits, with ranges found on {crops}, beside OpenVINO in float32: PSNR-Y lost in dB, and the time of an LR
image of 640x360 as a share of float32's and of PyTorch's, by {threads} thread(s) of {bits}, in turn in one run.

| network | Set5 | Set14 | time to float32 | time to PyTorch | float32's time to PyTorch |
| --- | --- | --- | --- | --- | --- |
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.formats_table", description=__doc__)
    parser.add_argument("files", nargs="*", help="files of public networks")
    parser.add_argument("--benchmarks", help="folder of Set5 and Set14, for the table of 8 bits")
    parser.add_argument("--calibration", action="append", default=[], help="images for it, by default the demo's")
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with PAGE.open("w", encoding="utf-8") as page:

        def add(text: str) -> None:
            page.write(text)
            page.flush()
            print(text, end="", flush=True)

        add(TEXT.format(command=shlex.join(["python", "-m", "tools.formats_table", *map(_shown, sys.argv[1:])])))
        add(f"| network | {' | '.join(FORMATS)} |\n|{' --- |' * (1 + len(FORMATS))}\n")
        for name in (*SHIPPED, *SMALL, *settings.files):
            torch.manual_seed(0)
            network = build(name, 2).eval() if ":" in name else load(name)
            add(f"| {Path(name).stem if name in settings.files else name} | {' | '.join(row(network))} |\n")
        if settings.benchmarks:
            crops = " and ".join(Path(folder).name for folder in settings.calibration) or "the demo's photographs"
            add(INT8.format(crops=f"40 crops of {crops}", threads=torch.get_num_threads(), bits="a busy CPU"))
            for name in SHIPPED:
                cells = int8(load(name), settings.benchmarks, settings.calibration)
                add(f"| {name} | {' | '.join(cells)} |\n")


def row(network: Network) -> Iterator[str]:
    """The cells of a network, one for each format."""
    photograph = demo_files()[1]["chelsea"]
    for name in FORMATS:
        with TemporaryDirectory() as folder:
            file = Path(folder, f"net{FORMATS[name].suffix}")
            try:
                parity = export(network, file, [photograph], format=name, allow_weak=True)
                yield _decibels(min(parity.psnr, _worst(network, FORMATS[name].open(file), rgb(photograph))))
            except HkdsrError as error:
                yield f"no: {str(error).replace(f'{file} is not written, as ', '').rpartition(': ')[0] or error}"


def int8(network: Network, benchmarks: str, calibration: list[str]) -> Iterator[str]:
    """The cells of a network in 8 bits."""
    with TemporaryDirectory() as folder:
        plain, small = Path(folder, "plain.xml"), Path(folder, "small.xml")
        export(network, plain)
        export(network, small, int8=True, calibration=calibration)
        exact, quantised = load(plain), load(small)
        before, after = (evaluate(one, SETS, root=benchmarks) for one in (exact, quantised))
        yield from (f"{one.psnr_y - other.psnr_y:.3f}" for one, other in zip(before, after, strict=True))
        fast, whole, torchs = milliseconds_in_turn((quantised, exact, network), (TIMED,) * 3, ROUNDS)
        yield from (f"{fast / whole:.2f}", f"{fast / torchs:.2f}", f"{whole / torchs:.2f}")


def _worst(network: Network, other: Network, image: np.ndarray) -> float:
    """The lowest PSNR between both networks' images of the sizes."""
    return min(_psnr(*(super_resolve(one, image[100:][:h, 150:][:, :w]) for one in (network, other))) for h, w in SIZES)


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.square(one.astype(float) - other).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def _decibels(value: float) -> str:
    return "identical" if value == float("inf") else f"{value:.0f} dB"


def _shown(argument: str) -> str:
    """A path as it is on any machine."""
    _, found, rest = argument.partition("/shared/")
    return f"../shared/{rest}" if found else argument


if __name__ == "__main__":
    main()
