"""The one place where 8-bit images become tensors and tensors become 8-bit images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_tensor(image: np.ndarray, device: torch.device | None = None) -> Tensor:
    """uint8 RGB (h, w, 3) -> float32 (1, 3, h, w) in [0, 1], on ``device`` (default: the CPU)."""
    # A copy, as tensors cannot share memory that is read only.
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(device).float().div_(255)


def to_uint8(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) of any device and floating-point type -> uint8 RGB (H, W, 3): clamped to [0, 1], then rounded."""
    return rounded(image)[0].permute(1, 2, 0).cpu().numpy()


def rounded(image: Tensor) -> Tensor:
    """The same as a uint8 tensor of the same shape and device; uint8 stays as it is."""
    if image.dtype == torch.uint8:
        return image
    return image.float().clamp(0, 1).mul(255).round().to(torch.uint8)
