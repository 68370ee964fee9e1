"""What the pruned start keeps of a teacher: ``python -m benchmarks.prune_cuts WEIGHTS TRAIN... --root BENCHMARKS``.

For every family and four cuts (3/4, 1/2 and 1/4 of the width, half of the blocks) the PSNR-Y on a benchmark set before
any training step, beside that of slices of the teacher. WEIGHTS is the folder of public weights. Families without any
are given a teacher that is trained for a few hundred steps here, so that their numbers say nothing about good teachers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from hkdsr.data.crops import CropSampler
from hkdsr.data.sources import find_pairs
from hkdsr.data.store import build_store
from hkdsr.nets.base import Network, parameter_count
from hkdsr.nets.files.load import build, load
from hkdsr.nets.start.initialise import initialise
from hkdsr.nets.start.prune.prune import prune
from hkdsr.scoring import evaluate
from hkdsr.settings.recipe import Data, Training, TrainRecipe
from hkdsr.training.pruned import CROPS, SEED, SIDE
from hkdsr.training.run import train

STEPS = 300
RLFN = ("rlfn:features=39", "rlfn:features=26", "rlfn:features=13", "rlfn:blocks=3")
SMFANET = (
    "smfanet:dim=27,blocks=8",
    "smfanet:dim=18,blocks=8",
    "smfanet:dim=9,blocks=8",
    "smfanet:dim=36,blocks=4",
)
# By teacher, a file or the description of one to train: students of 3/4, 1/2 and 1/4 of its width (as near as the
# family's rules allow), and of half of its blocks.
CUTS: dict[str, tuple[str, ...]] = {
    "RLFN/rlfn_x2.pth": RLFN,
    "RLFN/rlfn_x4.pth": RLFN,
    "SMFANet/SMFANet_DF2K_100w_x2SR.pth": SMFANET,
    "SMFANet/SMFANet_DF2K_100w_x3SR.pth": SMFANET,
    "IMDN/IMDN_x2.pth": ("imdn:features=48", "imdn:features=32", "imdn:features=16", "imdn:blocks=3"),
    "BSRN/BSRN_x2.pth": ("bsrn:features=48", "bsrn:features=32", "bsrn:features=16", "bsrn:blocks=4"),
    "compact_x2": (
        "compact:features=24,convs=8",
        "compact:features=16,convs=8",
        "compact:features=8,convs=8",
        "compact:features=32,convs=4",
    ),
    "HPINet/HPINet-M-x2.pth": (
        "hpinet:dim=42,qk_dim=24,mlp_dim=75",
        "hpinet:dim=28,qk_dim=16,mlp_dim=50",
        "hpinet:dim=14,qk_dim=8,mlp_dim=25",
        "hpinet:blocks=4",
    ),
    "HiT-SRF/HiT-SRF-x4.pth": (
        "hitsrf:features=48,mlp_dim=90",
        "hitsrf:features=36,mlp_dim=60",
        "hitsrf:features=24,mlp_dim=30",
        "hitsrf:groups=2",
    ),
    "edsr:features=32,blocks=6": (
        "edsr:features=24,blocks=6",
        "edsr:features=16,blocks=6",
        "edsr:features=8,blocks=6",
        "edsr:features=32,blocks=3",
    ),
    "rcan:groups=4,blocks=2,features=32,reduction=8": (
        "rcan:groups=4,blocks=2,features=24,reduction=8",
        "rcan:groups=4,blocks=2,features=16,reduction=8",
        "rcan:groups=4,blocks=2,features=8,reduction=8",
        "rcan:groups=2,blocks=2,features=32,reduction=8",
    ),
    "swinir:features=32,groups=4,blocks=2,heads=2,upsampler=pixelshuffledirect": (
        "swinir:features=24,groups=4,blocks=2,heads=2,upsampler=pixelshuffledirect",
        "swinir:features=16,groups=4,blocks=2,heads=2,upsampler=pixelshuffledirect",
        "swinir:features=8,groups=4,blocks=2,heads=2,upsampler=pixelshuffledirect",
        "swinir:features=32,groups=2,blocks=2,heads=2,upsampler=pixelshuffledirect",
    ),
    "msrresnet:features=32,blocks=6": (
        "msrresnet:features=24,blocks=6",
        "msrresnet:features=16,blocks=6",
        "msrresnet:features=8,blocks=6",
        "msrresnet:features=32,blocks=3",
    ),
    "span:features=32,blocks=6": (
        "span:features=24,blocks=6",
        "span:features=16,blocks=6",
        "span:features=8,blocks=6",
        "span:features=32,blocks=3",
    ),
}


def main(words: Sequence[str] | None = None) -> None:
    """Print one line for every teacher and student. ``words`` are those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("--root", type=Path, default=Path("benchmarks"))
    parser.add_argument("--set", default="Set5")
    parser.add_argument("--out", type=Path, default=Path("runs/prune_cuts"), help="for trained teachers and the cache")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of the teachers' names")
    parser.add_argument("--cuts", type=int, default=4, help="students of each teacher, the first ones")
    parser.add_argument("--crops", type=int, default=CROPS, help="training crops that a start is made from")
    arguments = parser.parse_args(words)
    for name, students in CUTS.items():
        if not name.startswith(tuple(arguments.only)):
            continue
        teacher = _teacher(name, arguments.weights, arguments.train, arguments.out).requires_grad_(False)
        store = build_store(find_pairs(arguments.train, teacher.scale), teacher.scale, arguments.out / "cache")
        crops = CropSampler(store, SIDE, arguments.crops, SEED).batch(0)
        print(f"{name} (x{teacher.scale}): {_score(teacher, arguments):.2f} dB", flush=True)
        for description in students[: arguments.cuts]:
            pruned, sliced = (build(description, teacher.scale).requires_grad_(False).eval() for _ in range(2))
            begun = time.process_time()
            prune(pruned, teacher, crops.lr, crops.hr)
            seconds = time.process_time() - begun
            initialise(sliced, "slice", teacher)
            share = parameter_count(pruned) / parameter_count(teacher)
            print(
                f"  {description} ({100 * share:.0f} % of the weights): pruned {_score(pruned, arguments):.2f}, "
                f"slice {_score(sliced, arguments):.2f} dB; {seconds:.0f} s of CPU",
                flush=True,
            )


def _teacher(name: str, weights: Path, folders: list[Path], out: Path) -> Network:
    if ":" not in name:
        return load(weights / name if "/" in name else name)
    recipe = TrainRecipe(
        scale=2,
        student=name,
        out=out / name.partition(":")[0],
        data=Data(train=tuple(folders), patch=32, cache=out / "cache"),
        training=Training(steps=STEPS, batch=8, lr=1e-3, ema=0.98, device="cpu"),
    )
    return train(recipe).network


def _score(network: Network, arguments: argparse.Namespace) -> float:
    return evaluate(network, arguments.set, arguments.root)[0].psnr_y


if __name__ == "__main__":
    main()
