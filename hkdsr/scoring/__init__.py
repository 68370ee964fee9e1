"""Scores by the published protocol, and costs."""

from hkdsr.scoring.benchmark import BICUBIC, ImageScore, SetScore, evaluate, evaluate_set, protocol, scored_sets
from hkdsr.scoring.cost import Cost, cost, milliseconds
from hkdsr.scoring.metrics import luma, psnr_y, ssim_y

__all__ = [
    "BICUBIC",
    "Cost",
    "ImageScore",
    "SetScore",
    "cost",
    "evaluate",
    "evaluate_set",
    "luma",
    "milliseconds",
    "protocol",
    "psnr_y",
    "scored_sets",
    "ssim_y",
]
