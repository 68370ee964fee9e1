"""State dicts under the names that BasicSR gives to the layers of EDSR, RCAN and MSRResNet."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Our names, which are those of the authors' code, and BasicSR's.
SHARED = [(r"head\.0", "conv_first"), (r"tail\.0\.(\d+)", r"upsample.\1"), (r"tail\.1", "conv_last")]
EDSR = [
    *SHARED,
    (r"body\.(\d+)\.body\.0", r"body.\1.conv1"),
    (r"body\.(\d+)\.body\.2", r"body.\1.conv2"),
    (r"body\.\d+", "conv_after_body"),
]
RCAN = [
    *SHARED,
    (r"body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.0", r"body.\1.residual_group.\2.rcab.3.attention.1"),
    (r"body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.2", r"body.\1.residual_group.\2.rcab.3.attention.3"),
    (r"body\.(\d+)\.body\.(\d+)\.body\.(\d)", r"body.\1.residual_group.\2.rcab.\3"),
    (r"body\.(\d+)\.body\.\d+", r"body.\1.conv"),
    (r"body\.\d+", "conv_after_body"),
]


def renamed(state: Mapping[str, Tensor], names: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Our state dict under other names; the colour shifts, which BasicSR does not keep in it, are left out."""
    found = {}
    for key, value in state.items():
        if key.startswith(("sub_mean", "add_mean")):
            continue
        stem, _, kind = key.rpartition(".")
        other = next(re.sub(f"^{own}$", theirs, stem) for own, theirs in names if re.fullmatch(own, stem))
        found[f"{other}.{kind}"] = value
    return found


class Block(nn.Module):
    """BasicSR's residual block without batch normalisation."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class MSRResNet(nn.Module):
    """The modified SRResNet (Wang et al., "ESRGAN", 2018) as BasicSR names its layers."""

    def __init__(self, scale: int = 4, features: int = 8, blocks: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*(Block(features) for _ in range(blocks)))
        factor = 3 if scale == 3 else 2
        self.upconv1 = nn.Conv2d(features, features * factor**2, 3, padding=1)
        if scale == 4:
            self.upconv2 = nn.Conv2d(features, features * 4, 3, padding=1)
        self.factor = factor
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(F.leaky_relu(self.conv_first(x), 0.1))
        out = F.leaky_relu(F.pixel_shuffle(self.upconv1(out), self.factor), 0.1)
        if self.scale == 4:
            out = F.leaky_relu(F.pixel_shuffle(self.upconv2(out), 2), 0.1)
        out = self.conv_last(F.leaky_relu(self.conv_hr(out), 0.1))
        base = F.interpolate(x, scale_factor=float(self.scale), mode="bilinear", align_corners=False)
        return out + base


@torch.no_grad()
def far_from_zero(module: nn.Module) -> nn.Module:
    """Fill the weights so that no layer goes unnoticed in the image, which stays in an image's range."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.08)
    return module.eval()
