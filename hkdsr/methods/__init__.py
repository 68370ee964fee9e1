"""Distillation methods: one paper, one file. The list below is all there is to registering one."""

from __future__ import annotations

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.hkdsr import HKDSR
from hkdsr.methods.plain import Logits, Plain

METHODS: dict[str, type[Method]] = {"none": Plain, "logits": Logits, "hkdsr": HKDSR}


def method_class(name: str) -> type[Method]:
    """The settings class of a method; HkdsrError for an unknown name."""
    if name not in METHODS:
        raise HkdsrError(f"method '{name}' is unknown: choose one of {', '.join(METHODS)}")
    return METHODS[name]


def method_name(method: Method) -> str:
    """The name under which a recipe asks for this method; the class's own name for one that is not in the list."""
    return next((name for name, kind in METHODS.items() if kind is type(method)), type(method).__name__)


__all__ = ["HKDSR", "METHODS", "Logits", "Method", "Plain", "method_class", "method_name"]
