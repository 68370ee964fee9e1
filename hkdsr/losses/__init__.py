"""Losses that several methods share: the Haar transform, FSM and ACF of HKDSR, and affinities."""

from hkdsr.losses.affinity import channel_affinity_distance, gram_distance, spatial_affinity_distance
from hkdsr.losses.fusion import Fusion, Gate
from hkdsr.losses.similarity import fsm, fsm_sum, similarity_distance
from hkdsr.losses.wavelet import haar

__all__ = [
    "Fusion",
    "Gate",
    "channel_affinity_distance",
    "fsm",
    "fsm_sum",
    "gram_distance",
    "haar",
    "similarity_distance",
    "spatial_affinity_distance",
]
