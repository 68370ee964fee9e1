"""FSM as it is defined, with whole matrices, and images to compare with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hkdsr.data import imresize
from hkdsr.losses import haar

Triple = tuple[Tensor, Tensor, Tensor]


def naive(student: Tensor, teacher: Tensor, hr: Tensor, levels: int = 2, cosine: bool = False) -> Tensor:
    """Section 2.2 word for word: both similarity matrices of every high band, entry by entry."""
    total = student.new_zeros(())
    for bands in list(zip(*(haar(x, levels) for x in (student, teacher, hr)), strict=True))[1:]:
        s, t, g = (band.flatten(2) for band in bands)
        if cosine:
            s, t, g = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-8) for v in (s, t, g))
        total = total + (s.mT @ g - t.mT @ g).abs().mean()
    return total


def gradient(loss: Callable[[Tensor], Tensor], student: Tensor) -> tuple[Tensor, Tensor]:
    student = student.detach().requires_grad_()
    value = loss(student)
    return value.detach(), torch.autograd.grad(value, student)[0]


def noise(*shape: int) -> Triple:
    student, teacher, hr = torch.rand(3, *shape, dtype=torch.float64)
    return student, teacher, hr


def photographs(shared: Path, side: int, name: str = "*") -> Triple:
    """S, T, G in float64: the middles of Set5's images, blurred more, blurred less, as they are."""
    paths = sorted((shared / "benchmarks" / "Set5" / "HR").glob(f"{name}.png"))
    crops = []
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        crops.append(torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1))
    hr = torch.stack(crops).double() / 255
    student, teacher = (imresize(imresize(hr, 1 / scale), scale) for scale in (4, 2))
    return student, teacher, hr
