"""Distillation methods, one file for each paper. To register a method, add it to ``METHODS``."""

from __future__ import annotations

from collections.abc import Sequence

from hkdsr.errors import HkdsrError
from hkdsr.methods.adversarial import Adversarial
from hkdsr.methods.at import AttentionTransfer
from hkdsr.methods.augkd import AugKD
from hkdsr.methods.base import Method
from hkdsr.methods.composed import Composed, compose, composed_class
from hkdsr.methods.csd import CSD
from hkdsr.methods.dckd import DCKD
from hkdsr.methods.dukd import DUKD
from hkdsr.methods.fakd import FAKD
from hkdsr.methods.fitnet import FitNet
from hkdsr.methods.hkdsr import HKDSR
from hkdsr.methods.hkdsr_plus import HKDSRPlus
from hkdsr.methods.mipkd import MiPKD
from hkdsr.methods.mtkd import MTKD
from hkdsr.methods.plain import Logits, Plain
from hkdsr.methods.rkd import RKD
from hkdsr.methods.sp import SimilarityPreserving
from hkdsr.methods.srkd import SRKD
from hkdsr.methods.vid import VID

METHODS: dict[str, type[Method]] = {
    "none": Plain,
    "logits": Logits,
    "fitnet": FitNet,
    "at": AttentionTransfer,
    "sp": SimilarityPreserving,
    "rkd": RKD,
    "vid": VID,
    "fakd": FAKD,
    "srkd": SRKD,
    "csd": CSD,
    "dckd": DCKD,
    "dukd": DUKD,
    "augkd": AugKD,
    "mipkd": MiPKD,
    "mtkd": MTKD,
    "adversarial": Adversarial,
    "hkdsr": HKDSR,
    "hkdsr+": HKDSRPlus,
}


def method_class(name: str) -> type[Method]:
    """The class of a method, or of a sum of methods: their names, separated by commas.

    Raises HkdsrError for an unknown name.
    """
    if "," in name:
        return sum_class(name.split(","))
    if name not in METHODS:
        raise HkdsrError(f"method '{name}' is unknown: choose one of {', '.join(METHODS)}")
    return METHODS[name]


def sum_class(names: Sequence[str]) -> type[Composed]:
    """The class of a sum of methods. Raises HkdsrError for no name, an unknown name, or one that occurs twice."""
    return composed_class(tuple((name, method_class(name)) for name in names))


def method_name(method: Method) -> str:
    """The method's name in recipes; for a method that is not in ``METHODS``, the name of its class."""
    if isinstance(method, Composed):
        return ",".join(map(method_name, method.parts.values()))
    return next((name for name, kind in METHODS.items() if kind is type(method)), type(method).__name__)


__all__ = [
    "FAKD",
    "HKDSR",
    "METHODS",
    "VID",
    "HKDSRPlus",
    "Logits",
    "Method",
    "Plain",
    "compose",
    "method_class",
    "method_name",
    "sum_class",
]
