"""WrappedNetwork: a PyTorch module whose code is not ours, made into a network by what probing finds out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.memory import ran_out
from hkdsr.nets.base import RUN_SCALES, in_full_precision
from hkdsr.nets.explored import ExploredNetwork
from hkdsr.nets.files.anatomy import Anatomy, explore, recording
from hkdsr.nets.grey import RUNS_GREY, EachColour
from hkdsr.nets.probing import Findings, OneSizeError, example_image, failure, precisions, probe
from hkdsr.nets.results import image_of

CODE = "code"
RANGE_NAMES = ("colour_range", "color_range")
"""Attributes of a module that say the upper end of its colours."""
DEPLOY = "switch_to_deploy"
"""The method by which re-parameterised modules (RepVGG's and others) turn their branches into one convolution."""
EXPLORED_SIDE = 32


class WrappedNetwork(ExploredNetwork):
    """A module of a user's own; see ``wrap``. It always runs in the precision of its weights, without autocast.

    ``identity`` is a hash of its code (32 bytes), which tells networks of equal weights apart; ``told`` are settings
    that say what it is. Taps are the outputs of its trunk (``hkdsr.nets.files.anatomy``), as for spandrel's networks.
    """

    family = CODE
    scales = RUN_SCALES
    trainable = True
    takes_grey: ClassVar[bool] = True
    """Whether a module of one channel is run on each colour."""
    without_taps = "has no trunk (like blocks side by side, of one size of features)"
    sha256: Tensor

    def __init__(
        self,
        module: nn.Module,
        name: str,
        identity: bytes,
        told: dict[str, int | float | str],
        colour_range: float | None = None,
        pad_multiple: int | None = None,
        output: int | None = None,
    ) -> None:
        model = module.cpu().eval()
        how = (name, colour_range or declared_range(model, name), pad_multiple, output)
        model, found = _probed(model, *how) if self.takes_grey else (model, probe(model, *how))
        super().__init__(found.scale)
        self.name, self.found, self._told = name, found, told
        self.model = model
        self.pad_multiple = found.pad_multiple
        # In the state, so that teachers of equal weights and other code are not taken for one another.
        self.register_buffer("sha256", torch.tensor(list(identity), dtype=torch.uint8))
        if not any(True for _ in model.parameters()):
            self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # carries device and type
        self._anatomy = self._explored()
        self.eval()

    @property
    def settings(self) -> dict[str, int | float | str]:
        """Scale and what it was made of. They do not rebuild the network: that takes its code."""
        chosen: dict[str, int | float | str] = {"taps": ",".join(self.taps)} if self.taps else {}
        return {"scale": self.scale, **self._told, **chosen}

    @property
    def notes(self) -> Sequence[str]:
        """What probing found out, in sentences."""
        found = self.found
        place = "the first image" if found.output is None else f"item {found.output}"
        facts = [
            RUNS_GREY if self._grey else "",
            f"colours in 0..{found.colour_range:g}"
            + (f", its image in 0..{found.output_range:g}" if found.output_range != found.colour_range else ""),
            self.sizes_told,
            f"{found.results} results, of which {place} is taken" if found.results > 1 else "",
            "" if found.takes_batches else "one image at a time",
            "" if found.takes_channels_last else "contiguous tensors only",
            "gets a copy of its input, which it changes" if found.changes_input else "",
            f"has {DEPLOY}, used for export" if deployed(self.model) is not self.model else "",
        ]
        return (
            f"found by probing: {'; '.join(filter(None, facts))}",
            f"runs in {self.types_told}; its image, reduced again, equals the input within {found.fidelity:.1f} dB",
        )

    @property
    def _grey(self) -> bool:
        return isinstance(self.model, EachColour)

    @property
    def sizes_told(self) -> str:
        """Which images it takes, for ``notes``."""
        multiple = self.found.pad_multiple
        return f"sides padded to multiples of {multiple}" if multiple > 1 else "any size"

    @property
    def types_told(self) -> str:
        """In which types it runs, for ``notes``."""
        return ", ".join(["float32", *precisions(self.model, self.found)])

    @property
    def identity(self) -> str:
        """The hash of its code, in hexadecimal digits."""
        return bytes(self.sha256.tolist()).hex()

    def require_learns(self) -> None:
        """Raises HkdsrError, from both passes over small crops, unless finite gradients reach the weights."""
        twin = copy.deepcopy(self).train()
        x = self._example()
        try:
            with torch.random.fork_rng(devices=()):
                image = twin(torch.cat([x, x.flip(-1)]))
            if image.requires_grad:
                image.square().mean().backward()
        except RuntimeError as error:
            raise failure(self.name, "in training", error) from error
        found = [parameter.grad for parameter in twin.parameters() if parameter.grad is not None]
        if not found or not all(gradient.isfinite().all() for gradient in found):
            raise HkdsrError(f"no finite gradient reaches the weights of {self.name}: let it compute with tensors only")

    def public_state(self) -> dict[str, Tensor]:
        """The state dict of the module itself."""
        own = self.model.model if isinstance(self.model, EachColour) else self.model
        return {name: value.clone() for name, value in own.state_dict().items()}

    def deployed(self) -> WrappedNetwork:
        """A copy in which ``switch_to_deploy`` was called; itself if it has no such method.

        Raises HkdsrError if that fails or changes the image.
        """
        model = deployed(self.model)
        if model is self.model:
            return self
        found = self.found
        # What is given as the range is that of input and output.
        colours = found.colour_range if found.colour_range == found.output_range else None
        given = (colours, found.pad_multiple, found.output)
        other = WrappedNetwork(model, self.name, bytes.fromhex(self.identity), self._told, *given)
        x = example_image(3 * self.pad_multiple, 5 * self.pad_multiple)
        with torch.no_grad():
            change = (other(x) - copy.deepcopy(self).cpu().float()(x)).abs().max()
        if not change <= 1e-3:
            raise HkdsrError(f"{self.name} gives another image after {DEPLOY} (by {change:.3g} of 1): correct it")
        return other

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WrappedNetwork:
        # Training and evaluation ask for channels last, in which code that calls .view() on features fails.
        super()._apply(fn, recurse)
        if not self.found.takes_channels_last:
            for tensor in chain(self.model.parameters(), self.model.buffers()):
                tensor.data = tensor.data.contiguous()
        return self

    def _parts(self, x: Tensor) -> Sequence[Tensor]:
        return (x,) if self.found.takes_batches else x.split(1)

    def _run(self, x: Tensor) -> Tensor:
        return in_full_precision(self._image, x)

    def _image(self, x: Tensor) -> Tensor:
        found = self.found
        h, w = x.shape[-2:]
        given = padded(x, found.pad_multiple)
        if found.colour_range != 1:
            given = given * found.colour_range
        if found.changes_input:
            given = given.clone()
        if not found.takes_channels_last:
            given = given.contiguous()
        size = (x.shape[0], found.scale * given.shape[-2], found.scale * given.shape[-1])
        image = image_of(self._call(given), size, found.output)
        if image is None:
            raise HkdsrError(f"{self.name} gives no x{found.scale} image for one of {w}x{h}: correct its code")
        image = image[..., : found.scale * h, : found.scale * w]
        return image if found.output_range == 1 else image / found.output_range

    def _call(self, x: Tensor) -> object:
        try:
            return self.model(x)
        except Exception as error:  # a user's code may raise anything
            if ran_out(error):
                raise  # smaller tiles may help
            raise failure(self.name, f"on images of {x.shape[-1]}x{x.shape[-2]}", error) from error

    @torch.no_grad()
    def _explored(self) -> Anatomy | None:
        with recording(self.model.modules()) as calls:
            self._run(self._example())
        return None if self._grey else explore(self.model, calls)  # a grey one makes three passes

    def _example(self) -> Tensor:
        side = self.pad_multiple * max(EXPLORED_SIDE // self.pad_multiple, 1)
        return example_image(side, side)


def _probed(
    model: nn.Module, name: str, colour_range: float | None, pad_multiple: int | None, output: int | None
) -> tuple[nn.Module, Findings]:
    """The module, or one that runs it on each colour, and how to run that. The error is that for RGB images."""
    how = (name, colour_range, pad_multiple, output)
    try:
        return model, probe(model, *how)
    except OneSizeError:
        raise
    except HkdsrError:
        grey = EachColour(model)
        with suppress(HkdsrError):
            return grey, probe(grey, *how)
        raise


def padded(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, h, w) at the bottom and right by reflection, without a branch, so that ONNX leaves the sizes open."""
    if multiple == 1:
        return x
    for axis in (-2, -1):
        x = extended(x, axis, (x.shape[axis] + multiple - 1) // multiple * multiple)
    return x


def extended(x: Tensor, axis: int, length: int) -> Tensor:
    """``x`` with ``length`` places along ``axis``, by reflection at the end."""
    side = x.shape[axis]
    index = torch.arange(length, device=x.device)
    index = torch.where(index < side, index, 2 * (side - 1) - index).clamp(min=0)
    return x.index_select(axis, index)


def deployed(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with ``switch_to_deploy`` called on it or on every part that has it; else ``model``."""
    if not any(hasattr(part, DEPLOY) for part in model.modules()):
        return model
    plain = copy.deepcopy(model)
    try:
        for part in [plain] if hasattr(plain, DEPLOY) else list(plain.modules()):
            if hasattr(part, DEPLOY):
                getattr(part, DEPLOY)()
    except Exception as error:  # a user's code may raise anything
        raise failure(type(model).__name__, f"in {DEPLOY}", error) from error
    return plain


def declared_range(model: nn.Module, name: str) -> float | None:
    """The upper end of its colours, where the module says so. Raises HkdsrError for a value that is no such number."""
    value: Any = next((getattr(model, key) for key in RANGE_NAMES if hasattr(model, key)), None)
    if value is None:
        return None
    if not isinstance(value, int | float) or not value > 0:
        raise HkdsrError(f"{name} has the colour range {value!r}: set it to 1 or 255")
    return float(value)
