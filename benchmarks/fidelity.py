"""How near networks come to a teacher's images: ``python -m benchmarks.fidelity TEACHER IMAGES NETWORK ...``.

The images, taken as LR, are cut into crops, as they are and degraded. Printed are the mean PSNR-Y in dB and SSIM-Y of
bicubic enlargement and of each network to the teacher's images of the same crops. They are no measure of quality.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from hkdsr.data.crops import CropSampler
from hkdsr.data.sources import find_pairs, spread
from hkdsr.data.store import build_store
from hkdsr.data.tensors import to_uint8
from hkdsr.nets.base import Network
from hkdsr.nets.exits import enlarge
from hkdsr.nets.files.load import load
from hkdsr.scoring import BICUBIC
from hkdsr.scoring.metrics import psnr_y, ssim_y
from hkdsr.settings.degrade import Degrade

SEED = 3


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for the clean and one for the degraded crops. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("images", type=Path, help="a folder")
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--preset", choices=("real-esrgan", "bsrgan"), default="real-esrgan")
    parser.add_argument("--share", type=float, default=0.1, help="of the images")
    parser.add_argument("--crops", type=int, default=64)
    parser.add_argument("--side", type=int, default=48, help="of a crop, in pixels")
    arguments = parser.parse_args(words)
    teacher = load(arguments.teacher)
    networks = {name: load(name, teacher.scale) for name in arguments.networks}
    pairs = spread(find_pairs(arguments.images, teacher.scale, lr_only=True), arguments.share)
    with TemporaryDirectory() as folder:
        store = build_store(pairs, teacher.scale, Path(folder), progress=False)
        for name, degrade in (("clean", None), ("degraded", Degrade(arguments.preset))):
            lr = CropSampler(store, arguments.side, arguments.crops, SEED, degrade=degrade).batch(0).lr
            wanted = images(teacher, lr)
            found = {BICUBIC: enlarge(lr, teacher.scale), **{own: images(net, lr) for own, net in networks.items()}}
            print(f"{name}: {', '.join(f'{own} {likeness(sr, wanted)}' for own, sr in found.items())}")


@torch.inference_mode()
def images(network: Network, lr: Tensor) -> Tensor:
    """The SR images of a batch, made one at a time."""
    return torch.cat([network(one) for one in lr.split(1)])


def likeness(sr: Tensor, wanted: Tensor) -> str:
    """The mean scores of a batch as a text; borders of 4 pixels are left out."""
    pairs = [(to_uint8(one), to_uint8(other)) for one, other in zip(sr.split(1), wanted.split(1), strict=True)]
    psnr, ssim = (fmean(score(*pair, 4) for pair in pairs) for score in (psnr_y, ssim_y))
    return f"{psnr:.2f} / {ssim:.4f}"


if __name__ == "__main__":
    main()
