"""``hkdsr.wrap``: a network from a PyTorch module that was made in Python."""

from __future__ import annotations

import hashlib
import inspect
import json

from torch import nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.wrapped import WrappedNetwork


def wrap(
    module: nn.Module,
    *,
    colour_range: float | None = None,
    pad_multiple: int | None = None,
    output: int | None = None,
    name: str | None = None,
) -> Network:
    """Make ``module`` a network that teaches, learns, upscales and is exported, in eval mode. It is not copied.

    The module maps RGB images (B, 3, h, w) to images 1, 2, 3, 4 or 8 times as large, or grey ones (B, 1, h, w): then it
    runs on each colour. Its scale, and what is not given here, are found by running it on small images. Recipes take
    modules too: they are wrapped so.

    Args:
        module: on any device, from which it is moved to the CPU. A network of hkdsr is returned as it is.
        colour_range: upper end of its colours, 1 or 255; by default its attribute ``colour_range`` if it has one.
        pad_multiple: number whose multiples the sides of its images must be; others are padded inside.
        output: place of the image, from 0, where it returns a tuple; by default the first image there.
        name: what messages call it; by default its class.

    Raises:
        HkdsrError: it is no module, fails, or is not a network of such a scale.
    """
    if isinstance(module, Network):
        return module
    if not isinstance(module, nn.Module):
        raise HkdsrError(f"cannot wrap an object of the type {type(module).__name__}: give a torch.nn.Module")
    kind = type(module).__name__
    identity = hashlib.sha256(json.dumps(_sources(module)).encode()).digest()
    settings: dict[str, int | float | str] = {"module": kind}
    return WrappedNetwork(module, name or kind, identity, settings, colour_range, pad_multiple, output)


def _sources(model: nn.Module) -> list[str]:
    """The source text of the classes of all its modules but PyTorch's, and how they are put together."""
    kinds = dict.fromkeys(type(part) for part in model.modules() if not type(part).__module__.startswith("torch."))
    texts = [repr(model)]
    for kind in kinds:
        try:
            texts.append(inspect.getsource(kind))
        except (OSError, TypeError):  # typed into an interpreter
            texts.append(kind.__qualname__)
    return texts
