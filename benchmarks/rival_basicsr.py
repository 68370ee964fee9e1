"""BasicSR 1.4.2, with which most training code for super-resolution is written: its loaders and its training step.

It does not know torchvision since 0.17, where a module that it imports was renamed; nothing else of it is changed. For
its installation see benchmarks/requirements.txt.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image

from benchmarks.rounds import Form, Missing
from hkdsr.data.store import ImageStore

BATCH, PATCH, SCALE = 16, 48, 2
COMPACT = {"type": "SRVGGNetCompact", "num_feat": 32, "num_conv": 8, "upscale": SCALE, "act_type": "prelu"}
OLD_NAME = "torchvision.transforms.functional_tensor"


class BasicSR:
    """Its loaders of the images of ``store``, which are written into ``folder``, and its model Compact 32x8.

    Raises ImportError, which says what is missing, where it cannot be imported.
    """

    def __init__(self, store: ImageStore, folder: Path) -> None:
        if OLD_NAME not in sys.modules:
            renamed = ModuleType(OLD_NAME)
            functional = importlib.import_module("torchvision.transforms.functional")
            vars(renamed)["rgb_to_grayscale"] = functional.rgb_to_grayscale
            sys.modules[OLD_NAME] = renamed
        self._models = importlib.import_module("basicsr.models")
        self._datasets = importlib.import_module("basicsr.data")
        self._lmdb = importlib.import_module("basicsr.utils.lmdb_util")
        self._folder = folder
        for name, image in (("hr", store.hr), ("lr", store.lr)):
            (folder / name).mkdir(parents=True)
            for index in range(len(store)):
                Image.fromarray(image(index)).save(folder / name / f"{index:04}.png")

    def dataset(self, backend: str) -> Any:
        """Its dataset of random crops, read from PNG files (``disk``) or from ``lmdb``."""
        places = {name: self._folder / name for name in ("hr", "lr")}
        if backend == "lmdb":
            for name, source in places.items():
                places[name] = source.with_suffix(".lmdb")
                if not places[name].exists():
                    files = sorted(file.name for file in source.iterdir())
                    stems = [Path(file).stem for file in files]
                    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it tells of each image
                        self._lmdb.make_lmdb_from_imgs(str(source), str(places[name]), files, stems)
        options = {
            "name": "crops",
            "type": "PairedImageDataset",
            "dataroot_gt": str(places["hr"]),
            "dataroot_lq": str(places["lr"]),
            "io_backend": {"type": backend},
            "gt_size": PATCH * SCALE,
            "use_hflip": True,
            "use_rot": True,
            "scale": SCALE,
            "phase": "train",
        }
        return self._datasets.build_dataset(options)

    def loader(self, backend: str = "disk", workers: int = 0) -> Iterator[Any]:
        """Batches without an end, as its training takes them."""
        dataset = self.dataset(backend)
        endless = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=1 << 30)
        return iter(torch.utils.data.DataLoader(dataset, BATCH, sampler=endless, num_workers=workers))

    def model(self) -> Any:
        """Its model, with average weights, trained by the L1 to HR with Adam."""
        training = {
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [1 << 30], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        }
        options = {"num_gpu": 0, "is_train": True, "dist": False, "path": {}, "model_type": "SRModel"}
        torch.manual_seed(0)
        with redirect_stdout(StringIO()):  # it tells how it finds the network
            return self._models.build_model({**options, "network_g": dict(COMPACT), "train": training})


def basicsr(store: ImageStore, folder: Path) -> BasicSR | Missing:
    """BasicSR, or why it does not run here."""
    try:
        return BasicSR(store, folder)
    except ImportError as error:
        return Missing(f"BasicSR cannot be imported ({error})")


def stepping(model: Any, batches: Iterator[Any]) -> Form:
    """One training step with the next of ``batches``."""

    def step() -> None:
        model.feed_data(next(batches))
        model.optimize_parameters(0)

    return step
