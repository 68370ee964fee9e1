"""Degradations: HR images made into LR images as bad as real photographs, one kind a file."""

from hkdsr.data.degrade.pipeline import VERSION, Degrader, live_degrader, random_of

__all__ = ["VERSION", "Degrader", "live_degrader", "random_of"]
