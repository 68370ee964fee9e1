"""State dicts under the names that BasicSR gives to the layers of EDSR and RCAN."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def far_from_zero(module: nn.Module) -> nn.Module:
    """Fill the weights so that no layer goes unnoticed in the image, which stays in an image's range."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.08)
    return module.eval()
