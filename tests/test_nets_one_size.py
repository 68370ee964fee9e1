"""Modules of one size on images of any size: tiles join without seams, and every pixel is there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hkdsr.nets.one_size import OneSize


class Blurred(nn.Module):
    """Takes one size; sees two pixels far, and zeros beyond the edge."""

    def __init__(self, size: tuple[int, int], scale: int) -> None:
        super().__init__()
        self.size, self.scale = size, scale

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != self.size:
            raise ValueError(x.shape)
        return blurred(x, self.scale)


def blurred(x: Tensor, scale: int) -> Tensor:
    kernel = torch.arange(1.0, 26).reshape(1, 1, 5, 5).repeat(3, 1, 1, 1) / 325
    return F.interpolate(F.conv2d(x, kernel, padding=2, groups=3), scale_factor=scale)


@settings(deadline=None, max_examples=60)
@given(st.integers(8, 20), st.integers(8, 20), st.integers(0, 50), st.integers(0, 50), st.sampled_from((2, 3, 4)))
def test_tiles_are_the_whole(height: int, width: int, more_rows: int, more_columns: int, scale: int) -> None:
    x = torch.rand(2, 3, height + more_rows, width + more_columns)
    made = OneSize(Blurred((height, width), scale), (height, width))(x)
    torch.testing.assert_close(made, blurred(x, scale))


@pytest.mark.parametrize("size", [(1, 1), (3, 30), (30, 3)])
def test_small_images_are_padded(size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size)
    made = OneSize(Blurred((8, 9), 2), (8, 9))(x)
    assert isinstance(made, Tensor)
    assert made.shape == (1, 3, 2 * size[0], 2 * size[1])
    inside = [
        slice(0, 2 * side if side >= least else 2 * max(side - 2, 0)) for side, least in zip(size, (8, 9), strict=True)
    ]
    torch.testing.assert_close(made[..., inside[0], inside[1]], blurred(x, 2)[..., inside[0], inside[1]])


def test_what_is_no_image_is_given_on() -> None:
    assert OneSize(nn.Flatten(), (8, 8))(torch.rand(1, 3, 8, 8)).shape == (1, 192)
