"""What a network of unknown code is, found by running it: its scale, colour range, sizes, and what it must be spared.

Nothing is read off names of classes or layers. Every answer comes from what the module gives for small images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hkdsr.data.resize import imresize
from hkdsr.errors import HkdsrError
from hkdsr.nets.results import image_of, results_of
from hkdsr.nets.sanity import FARTHEST, require_image
from hkdsr.user_code import reason_of

PROBED_SCALES = (2, 3, 4, 8, 1)
"""1 is the last, since what has the size of the input need not be the image."""
USUAL_SIDES = (64, 32, 48, 56, 96, 128, 60, 40, 224, 256)
"""LR sides to try for any answer at all: multiples of what windows, strides and patches usually are."""
MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 60, 64, 96, 128, 224, 256)
FACTORS = (1, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
LEAST_SIDE = 24
RANGES = (1.0, 255.0)
BAD, FAIR, GOOD = 15.0, 20.0, 50.0
"""PSNR in dB of an SR image, reduced again, against the LR image: wrong, possible, and of a trained network."""
GPU_WORDS = ("cuda", "nvidia")
ROUNDING = {torch.float16: 0.05, torch.bfloat16: 0.2}
"""How far from the float32 image an image in these types may be."""


@dataclass(frozen=True)
class Findings:
    """How to run a module: it takes (B, 3, h, w) in [0, ``colour_range``], h and w multiples of ``pad_multiple``.

    Its image is in [0, ``output_range``].
    ``output`` is the place of the image in a tuple or dictionary of results, or None for the first image there. A
    module that ``changes_input`` gets a copy; one that does not take batches gets one image at a time, and one that
    does not take channels last (PyTorch's other order in memory) contiguous tensors.
    """

    scale: int
    colour_range: float
    output_range: float
    pad_multiple: int
    output: int | None
    results: int
    changes_input: bool
    takes_batches: bool
    takes_channels_last: bool
    fidelity: float
    """PSNR in dB of an SR image, reduced again, against its input: 50 or more for networks trained by PSNR."""


class UnsuitableError(HkdsrError):
    """A module gives something, but no image 1, 2, 3, 4 or 8 times as large."""


class OneSizeError(HkdsrError):
    """A module takes images of the ``size`` (height, width) and no other one that was tried."""

    def __init__(self, message: str, size: tuple[int, int]) -> None:
        super().__init__(message)
        self.size = size


def probe(
    model: nn.Module,
    name: str,
    colour_range: float | None = None,
    pad_multiple: int | None = None,
    output: int | None = None,
) -> Findings:
    """Find out how to run ``model``, which is on the CPU in eval mode. What is given is not looked for.

    Raises HkdsrError, naming ``name``, for a module that fails, gives no image of such a scale, takes only one
    size of image, or cannot be copied.
    """
    ask = _Asker(model, name, output)
    size = ask.any_size(pad_multiple)
    scale = ask.scale_at(size)
    if pad_multiple is None:
        pad_multiple, size = ask.multiple(scale, size)
    taken, given_range = (colour_range, colour_range) if colour_range else ask.colour_ranges(scale, size)
    x = taken * example_image(*size)
    image = ask.image(x, scale)
    require_image(image / given_range, name)
    error = imresize(image / given_range, 1 / scale) - x / taken
    given = x.clone()
    results = results_of(ask.call(given))
    pair, alike = torch.cat([x, x.flip(-1)]), _Alike(scale, image)
    takes_batches = alike.holds(lambda: ask.image(pair, scale)[:1])
    # Of a single image, code that joins batch and channels by .view() takes channels last too.
    reordered, last = ask.copied(torch.channels_last), pair if takes_batches else x
    return Findings(
        scale,
        taken,
        given_range,
        pad_multiple,
        output,
        len(results),
        not torch.equal(given, x),
        takes_batches,
        alike.holds(lambda: reordered.image(last.to(memory_format=torch.channels_last), scale)[:1]),
        _decibels(error),
    )


def precisions(model: nn.Module, findings: Findings) -> list[str]:
    """The floating-point types besides float32 that a copy of ``model`` runs in, with nearly the same image."""
    side = findings.pad_multiple * -(-LEAST_SIDE // findings.pad_multiple)
    x = findings.colour_range * example_image(side, side)
    expected = _Asker(model, "", findings.output).image(x, findings.scale)
    found = []
    for kind, rounding in ROUNDING.items():
        ask = _Asker(copy.deepcopy(model).to(kind), "", findings.output)
        alike = _Alike(findings.scale, expected, rounding)
        if alike.holds(lambda ask=ask, kind=kind: ask.image(x.to(kind), findings.scale).float()):
            found.append(str(kind).removeprefix("torch."))
    return found


def example_image(height: int, width: int) -> Tensor:
    """An image (1, 3, height, width) in [0, 1] that is not flat: gradients, waves of three lengths and an edge."""
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None, :]
    planes = []
    for channel, (rise, waves) in enumerate(((0.5, 9.0), (0.3, 14.0), (0.6, 20.0))):
        plane = 0.25 + rise * (0.6 * x + 0.4 * y) + 0.06 * torch.sin(waves * (x + 0.7 * y) + channel)
        planes.append(plane - 0.15 * ((x - 0.55).square() + (y - 0.45).square() < 0.06).float())
    return torch.stack(planes)[None].clamp(0, 1)


def failure(name: str, doing: str, error: BaseException) -> HkdsrError:
    """What to tell the user about an error of a network's own code."""
    if isinstance(error, HkdsrError):
        return error
    reason = reason_of(error)
    if any(word in reason.lower() for word in GPU_WORDS):
        return HkdsrError(
            f"{name} fails {doing} without a GPU ({reason}): take .cuda() out of it, and load its weights with "
            "map_location='cpu'"
        )
    return HkdsrError(f"{name} fails {doing} ({reason}): correct its code")


@dataclass(frozen=True)
class _Asker:
    """Runs a module on images and looks at what it returns."""

    model: nn.Module
    name: str
    output: int | None

    @torch.no_grad()
    def call(self, x: Tensor) -> object:
        try:
            return self.model(x)
        except Exception as error:  # a user's code may raise anything
            raise failure(self.name, f"on an image of {x.shape[-1]}x{x.shape[-2]}", error) from error

    def image(self, x: Tensor, scale: int) -> Tensor:
        """The SR image for a copy of ``x``. Raises HkdsrError if there is none of this scale."""
        h, w = x.shape[-2:]
        image = image_of(
            result := self.call(x.clone(memory_format=torch.preserve_format)),
            (x.shape[0], scale * h, scale * w),
            self.output,
        )
        if image is None:
            raise self._unsuitable(result, x)
        return image

    def any_size(self, multiple: int | None) -> tuple[int, int]:
        """Height and width of an image that the module takes; its own error for 64x64 if it takes none."""
        first: HkdsrError | None = None
        for side in USUAL_SIDES if multiple is None else (multiple * -(-2 * LEAST_SIDE // multiple),):
            try:
                self.scale_at((side, side))
            except HkdsrError as error:
                first = first or error
            else:
                return side, side
        assert first is not None
        raise first

    def scale_at(self, size: tuple[int, int]) -> int:
        """How much larger the image is than the input. Raises HkdsrError if that is none of ``PROBED_SCALES``."""
        x = example_image(*size)
        result = self.call(x)
        found = (s for s in PROBED_SCALES if image_of(result, (1, s * size[0], s * size[1]), self.output) is not None)
        scale = next(found, None)
        if scale is None:
            raise self._unsuitable(result, x)
        return scale

    def multiple(self, scale: int, works: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        """The smallest number whose multiples the sides may be, and sides that only it divides.

        Raises OneSizeError if the module takes no sizes but those like ``works``, and UnsuitableError if it takes
        others and gives no such image for them.
        """
        unsuitable: UnsuitableError | None = None
        for multiple in MULTIPLES:
            small = [factor for factor in FACTORS if factor * multiple >= LEAST_SIDE][:2]
            size = (small[0] * multiple, small[1] * multiple)
            try:
                self.image(example_image(*size), scale)
            except UnsuitableError as error:
                unsuitable = error if multiple == 1 else unsuitable  # larger sides may be those of several images
            except HkdsrError:
                continue
            else:
                return multiple, size
        if unsuitable:
            raise unsuitable
        raise OneSizeError(
            f"{self.name} takes images of {works[1]}x{works[0]} but not of other sizes: let it take any size, or "
            "multiples of a number",
            works,
        )

    def colour_ranges(self, scale: int, size: tuple[int, int]) -> tuple[float, float]:
        """Of input and output, 1 or 255. In doubt 1: other ones only if an image is reproduced so and not in 0..1."""
        x = example_image(*size)
        found = {(top, end): psnr for top in RANGES for end, psnr in self._fidelities(x, scale, top)}
        usual = found.pop((1.0, 1.0))
        best = max(found, key=lambda ranges: found[ranges])
        if (usual < BAD and found[best] >= FAIR) or (found[best] >= GOOD and found[best] > usual + 3):
            return best
        top = RANGES[usual == -float("inf") and found[RANGES[1], RANGES[1]] > usual]
        return top, top

    def copied(self, order: torch.memory_format) -> _Asker:
        """For a copy of the module in another order in memory. Raises HkdsrError if it cannot be copied."""
        try:
            return _Asker(copy.deepcopy(self.model).to(memory_format=order), self.name, self.output)
        except Exception as error:  # a user's code may raise anything
            raise failure(self.name, "when it is copied", error) from error

    def _fidelities(self, x: Tensor, scale: int, top: float) -> Iterator[tuple[float, float]]:
        """PSNR in dB of the reduced SR image against ``x`` in [0, 1], run in [0, ``top``], by the range of the output.

        -inf if it is no image.
        """
        sr = self.image(top * x, scale)
        for end in RANGES:
            near = float((sr / end).abs().max()) <= FARTHEST
            yield end, _decibels(imresize(sr / end, 1 / scale) - x) if near else -float("inf")

    def _unsuitable(self, result: object, x: Tensor) -> UnsuitableError:
        made = (
            ", ".join(str(tuple(r.shape)) for r in results_of(result))
            or f"an object of the type {type(result).__name__}"
        )
        return UnsuitableError(
            f"{self.name} gives {made} for an image of {tuple(x.shape)}: give a network that turns one RGB image into "
            "one x1, x2, x3, x4 or x8"
        )


@dataclass(frozen=True)
class _Alike:
    """Whether other ways to run a module give the image that it gives for the example."""

    scale: int
    expected: Tensor
    tolerance: float = 1e-3

    def holds(self, other: Callable[[], Tensor]) -> bool:
        try:
            found = other()
        except HkdsrError:
            return False
        close = (found - self.expected).abs().max() <= self.tolerance * max(1.0, float(self.expected.abs().max()))
        return bool(close)


def _decibels(error: Tensor) -> float:
    return float(-10 * error.square().mean().clamp(min=1e-10).log10())
