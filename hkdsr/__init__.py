"""hkdsr: distil heavy super-resolution networks into small ones, and measure what is left.

The verbs are ``load``, ``train``, ``distill``, ``compare``, ``evaluate``, ``upscale`` and ``export``; recipes and
``HkdsrError`` are here too. Everything is imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hkdsr import data, losses, nets
    from hkdsr.compare import CallableModule as ComparePackage
    from hkdsr.deploy.export import export
    from hkdsr.deploy.upscale import upscale
    from hkdsr.errors import HkdsrError
    from hkdsr.evaluate import CallableModule
    from hkdsr.nets.load import load, save
    from hkdsr.recipe import Data, DistillRecipe, ExitSettings, Training, TrainRecipe
    from hkdsr.training.run import distill, train

    compare: ComparePackage
    evaluate: CallableModule

__version__ = "0.1.0"

_HOMES = {
    "Data": "hkdsr.recipe",
    "DistillRecipe": "hkdsr.recipe",
    "ExitSettings": "hkdsr.recipe",
    "HkdsrError": "hkdsr.errors",
    "TrainRecipe": "hkdsr.recipe",
    "Training": "hkdsr.recipe",
    "distill": "hkdsr.training.run",
    "export": "hkdsr.deploy.export",
    "load": "hkdsr.nets.load",
    "save": "hkdsr.nets.load",
    "train": "hkdsr.training.run",
    "upscale": "hkdsr.deploy.upscale",
}
_PACKAGES = ("compare", "data", "evaluate", "losses", "nets")

__all__ = [
    "Data",
    "DistillRecipe",
    "ExitSettings",
    "HkdsrError",
    "TrainRecipe",
    "Training",
    "compare",
    "data",
    "distill",
    "evaluate",
    "export",
    "load",
    "losses",
    "nets",
    "save",
    "train",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"hkdsr.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'hkdsr' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
