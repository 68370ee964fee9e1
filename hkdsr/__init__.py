"""hkdsr: distil heavy super-resolution networks into small ones, and measure what is left.

The commands are ``load``, ``wrap``, ``train``, ``distill``, ``distill_sizes``, ``label``, ``compare``, ``evaluate``,
``upscale`` and ``export``; recipes and ``HkdsrError`` are here too. Everything is imported on first use, so that
importing the package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hkdsr import data, losses, methods, nets, scoring
    from hkdsr.deploy.export import export
    from hkdsr.deploy.formats.onnx_form import OnnxForm
    from hkdsr.deploy.upscale import upscale
    from hkdsr.errors import HkdsrError
    from hkdsr.nets.files.load import load, save
    from hkdsr.nets.wrap import wrap
    from hkdsr.scoring import evaluate
    from hkdsr.settings.degrade import Degrade
    from hkdsr.settings.exits import ExitSettings
    from hkdsr.settings.recipe import Data, DistillRecipe, Training, TrainRecipe
    from hkdsr.studies.compare import compare
    from hkdsr.training.label import label
    from hkdsr.training.run import distill, train
    from hkdsr.training.sizes import distill_sizes

__version__ = "0.1.0"

# oneDNN, which computes PyTorch's convolutions on CPUs, makes code for every layer and size of image, and keeps that of
# the last 1024 in each of two caches: over images of ever other sizes a process grows by a hundred megabytes. The
# trainings of this package need under 100 at a time. oneDNN reads this at its first convolution; what is set stays.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
os.environ.setdefault("LRU_CACHE_CAPACITY", "1")

_HOMES = {
    "Data": "hkdsr.settings.recipe",
    "Degrade": "hkdsr.settings.degrade",
    "DistillRecipe": "hkdsr.settings.recipe",
    "ExitSettings": "hkdsr.settings.exits",
    "HkdsrError": "hkdsr.errors",
    "OnnxForm": "hkdsr.deploy.formats.onnx_form",
    "TrainRecipe": "hkdsr.settings.recipe",
    "Training": "hkdsr.settings.recipe",
    "compare": "hkdsr.studies.compare",
    "distill": "hkdsr.training.run",
    "distill_sizes": "hkdsr.training.sizes",
    "evaluate": "hkdsr.scoring",
    "export": "hkdsr.deploy.export",
    "label": "hkdsr.training.label",
    "load": "hkdsr.nets.files.load",
    "save": "hkdsr.nets.files.load",
    "train": "hkdsr.training.run",
    "upscale": "hkdsr.deploy.upscale",
    "wrap": "hkdsr.nets.wrap",
}
_PACKAGES = ("data", "losses", "methods", "nets", "scoring")

__all__ = [
    "Data",
    "Degrade",
    "DistillRecipe",
    "ExitSettings",
    "HkdsrError",
    "OnnxForm",
    "TrainRecipe",
    "Training",
    "compare",
    "data",
    "distill",
    "distill_sizes",
    "evaluate",
    "export",
    "label",
    "load",
    "losses",
    "methods",
    "nets",
    "save",
    "scoring",
    "train",
    "upscale",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"hkdsr.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'hkdsr' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
