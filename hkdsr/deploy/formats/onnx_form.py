"""How an ONNX file takes and gives images, for runtimes that want other forms than PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hkdsr.nets.base import Network

Values = Literal["float", "uint8"]
Layout = Literal["nchw", "nhwc"]

LEVELS = 255
USUAL = ("float", "nchw")


@dataclass(frozen=True)
class OnnxForm:
    """The form of an ONNX file; the same for its input and its output.

    Attributes:
        plain: whether the graph is without operations that the runtimes of phones and browsers lack, in exact
            replacements.
        values: ``float`` for float32 in [0, 1], where the output is not clamped; ``uint8`` for grey levels.
        layout: ``nchw`` for images (batch, 3, height, width), ``nhwc`` for (batch, height, width, 3).
        size: height and width of the LR image in pixels, for a file that takes one such image at a time; None for
            batches of images of any size.
    """

    plain: bool = False
    values: Values = "float"
    layout: Layout = "nchw"
    size: tuple[int, int] | None = None

    @property
    def description(self) -> dict[str, str]:
        """What a file tells of its form: what differs from the usual one."""
        told = {"image_values": self.values, "image_layout": self.layout}
        return {key: value for key, value in told.items() if value not in USUAL}


class InForm(nn.Module):
    """``network`` as a module that takes and gives images in this form."""

    def __init__(self, network: Network, form: OnnxForm) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, images: Tensor) -> Tensor:
        last, eight_bits = self.form.layout == "nhwc", self.form.values == "uint8"
        x = images.permute(0, 3, 1, 2) if last else images
        sr = self.network(x.float() / LEVELS) if eight_bits else self.network(x)
        sr = _grey_levels(sr) if eight_bits else sr
        return sr.permute(0, 2, 3, 1) if last else sr


def _grey_levels(sr: Tensor) -> Tensor:
    """[0, 1] -> uint8, rounded, by operations that all runtimes have: Round and Clip are not among them."""
    levels = LEVELS * sr + 0.5
    return (levels.relu() - (levels - LEVELS).relu()).to(torch.uint8)
