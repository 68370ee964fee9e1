"""What an exported SMFANet runs is what PyTorch runs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hkdsr.nets.families.gathers import adaptive_max_pool, enlarge_nearest


@pytest.mark.parametrize("width", range(1, 60))
def test_pooling_and_enlargement_are_those_of_pytorch(width: int) -> None:
    for height in (1, 7, 15, 23, 47, 61, 90):
        x = torch.rand(2, 3, height, width)
        size = (max(height // 8, 1), max(width // 8, 1))
        pooled = F.adaptive_max_pool2d(x, size)
        assert torch.equal(adaptive_max_pool(x, *size), pooled)
        whole = F.interpolate(pooled, size=(height, width), mode="nearest")
        assert torch.equal(enlarge_nearest(pooled, height, width), whole)
