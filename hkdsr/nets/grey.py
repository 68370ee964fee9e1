"""Grey networks, with one channel in and out, on RGB images: each colour runs by itself.

So noise and compression go from all colours, and a grey image stays grey. Papers usually run such networks on Y alone
and enlarge the other two planes of YCbCr bicubically: their PSNR-Y is not quite the one here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hkdsr.nets.results import results_of

COLOURS = 3
RUNS_GREY = "grey: each colour runs by itself"
"""What users are told."""


class EachColour(nn.Module):
    """``model``, which takes images (B, 1, h, w), for RGB images (B, 3, h, w).

    It returns what the model does, as a tuple where that has several results, with the results of the colours as
    channels.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        results = [results_of(self.model(x[:, colour : colour + 1])) for colour in range(x.shape[1])]
        joined = tuple(torch.cat(same, 1) for same in zip(*results, strict=True))
        return joined[0] if len(joined) == 1 else joined


def each_colour(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The image (B, 3, H, W) of ``run``, which takes and gives images of one channel, for RGB images (B, 3, h, w)."""
    return torch.cat([run(x[:, colour : colour + 1]) for colour in range(COLOURS)], 1)
