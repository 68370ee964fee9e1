"""The names that BasicSR gives to the layers of EDSR and RCAN, turned into those of the authors' files."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from hkdsr.nets.families.layers import MeanShift

MARKS = {"conv_first.weight", "conv_after_body.weight", "upsample.0.weight", "conv_last.weight"}
NAMES = (
    (r"conv_first", "head.0"),
    (r"upsample\.(\d+)", r"tail.0.\1"),
    (r"conv_last", "tail.1"),
    (r"body\.(\d+)\.conv1", r"body.\1.body.0"),
    (r"body\.(\d+)\.conv2", r"body.\1.body.2"),
    (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.(\d+)\.attention\.1", r"body.\1.body.\2.body.\3.conv_du.0"),
    (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.(\d+)\.attention\.3", r"body.\1.body.\2.body.\3.conv_du.2"),
    (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.(\d+)", r"body.\1.body.\2.body.\3"),
)


def official_names(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The weights under the authors' names, with the colour shifts that BasicSR leaves out; None for other files."""
    if not state.keys() >= MARKS:
        return None
    groups = 1 + max((int(m[1]) for key in state if (m := re.match(r"body\.(\d+)\.", key))), default=-1)
    blocks = 1 + max(
        (int(m[1]) for key in state if (m := re.match(r"body\.0\.residual_group\.(\d+)\.", key))), default=-1
    )
    last = ((r"conv_after_body", f"body.{groups}"), (r"body\.(\d+)\.conv", rf"body.\1.body.{blocks}"))
    found = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        named = next((re.sub(f"^{old}$", new, layer) for old, new in (*NAMES, *last) if re.fullmatch(old, layer)), None)
        if named is None:
            return None
        found[f"{named}.{kind}"] = value
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        found |= {f"{name}.{key}": value for key, value in MeanShift(sign).state_dict().items()}
    return found


def _number(folder: str, state: Mapping[str, Tensor]) -> int:
    """How many modules a list of modules has."""
    found = (re.match(rf"{folder}\.(\d+)\.", key) for key in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
