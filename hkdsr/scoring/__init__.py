"""Scores by the protocol of SR papers, and what networks cost."""

from hkdsr.scoring.cost import Cost, cost, milliseconds, milliseconds_in_turn
from hkdsr.scoring.metrics import luma, psnr_y, ssim_y
from hkdsr.scoring.scores import BICUBIC, ImageScore, SetScore, evaluate, evaluate_set, protocol, scored_sets

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
    "milliseconds_in_turn",
    "protocol",
    "psnr_y",
    "scored_sets",
    "ssim_y",
]
