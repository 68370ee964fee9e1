"""Images in and out, and the LR/HR pairs made from them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hkdsr.data.images import ImageData, list_images, read_image, rgb
from hkdsr.data.write import check_target, holds, write_image

if TYPE_CHECKING:
    from hkdsr.data.resize import bicubic_pair, imresize, mod_crop

__all__ = [
    "ImageData",
    "bicubic_pair",
    "check_target",
    "holds",
    "imresize",
    "list_images",
    "mod_crop",
    "read_image",
    "rgb",
    "write_image",
]


def __getattr__(name: str) -> Any:
    # Resizing imports PyTorch, which takes seconds and which images in and out do not need.
    if name not in ("bicubic_pair", "imresize", "mod_crop"):
        raise AttributeError(f"module 'hkdsr.data' has no attribute '{name}'")
    return getattr(import_module("hkdsr.data.resize"), name)
