"""Scores by the published protocol, and costs.

The package is its own verb: ``hkdsr.evaluate(network, "Set5", root)`` scores, and ``from hkdsr.evaluate import psnr_y``
imports as from any package.
"""

from __future__ import annotations

import sys
from types import ModuleType

from hkdsr.evaluate.benchmark import (
    BICUBIC,
    ImageScore,
    SetScore,
    evaluate_set,
    evaluate_sets,
    protocol,
    scored_sets,
)
from hkdsr.evaluate.cost import Cost, cost, milliseconds
from hkdsr.evaluate.metrics import luma, psnr_y, ssim_y

__all__ = [
    "BICUBIC",
    "Cost",
    "ImageScore",
    "SetScore",
    "cost",
    "evaluate_set",
    "evaluate_sets",
    "luma",
    "milliseconds",
    "protocol",
    "psnr_y",
    "scored_sets",
    "ssim_y",
]


class CallableModule(ModuleType):
    __call__ = staticmethod(evaluate_sets)


# A function ``hkdsr.evaluate`` would be replaced by this package on the package's first import, since the import system
# binds a subpackage's name in its parent. So the package itself answers calls: Python allows changing a module's class.
sys.modules[__name__].__class__ = CallableModule
