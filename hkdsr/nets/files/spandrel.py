"""SpandrelNetwork: any super-resolution network that spandrel can read, as a frozen teacher.

Its parts are not ours to run one by one; what taps need is recorded by hooks while the whole network runs. What counts
as its trunk is discovered by running it once on a small image.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Traced
from hkdsr.nets.opaque import OpaqueNetwork

if TYPE_CHECKING:
    from spandrel import ModelDescriptor, SizeRequirements

PROBE_SIZE = 32
UNREADABLE = (
    *(AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(pickle.UnpicklingError, SafetensorError),
)
"""What torch, safetensors and spandrel raise for a file that is torn or holds something else."""


class SpandrelNetwork(OpaqueNetwork):
    """A network loaded by spandrel, in evaluation mode for good and without trainable parameters.

    Taps are the outputs of its trunk: the longest run of like blocks, nearest to the top of the module tree, that keep
    the shape of their features. Each tap is (B, channels, h, w), as large as the image given even if the network pads
    it. Without such a run there are no ``blocks``, and ``tap_index`` raises HkdsrError: it teaches with images only.

    Raises HkdsrError, naming ``name`` (by default the architecture's), if the network does not map one RGB image to
    one of 2, 3 or 4 times the size.
    """

    family = "spandrel"

    def __init__(self, descriptor: ModelDescriptor, name: str | None = None) -> None:
        architecture = descriptor.architecture.name
        rgb = descriptor.input_channels == descriptor.output_channels == 3
        if not rgb or descriptor.purpose == "Inpainting" or descriptor.scale not in (2, 3, 4):
            raise _unfit(name or architecture)
        super().__init__(descriptor.scale)
        self.name = name or architecture
        self.architecture = architecture
        self.model: nn.Module = descriptor.model
        self._requirements = descriptor.size_requirements
        self.requires_grad_(False)
        self.train(False)
        self._anatomy = self._explore()

    @classmethod
    def from_file(cls, path: Path | str) -> SpandrelNetwork:
        """The network in a .pth, .pt, .ckpt or .safetensors file, on the CPU.

        Raises HkdsrError if spandrel is missing, the file cannot be read or its network is none that spandrel knows.
        """
        if not Path(path).is_file():
            raise HkdsrError(f"{path} is not a file: give the path of a file with a network's weights")
        spandrel = _spandrel()
        try:
            descriptor = spandrel.ModelLoader(device="cpu").load_from_file(path)
        except spandrel.UnsupportedModelError as error:
            raise HkdsrError(f"{path} is no network that spandrel knows: choose another teacher") from error
        except UNREADABLE as error:
            raise HkdsrError(f"{path} cannot be read as a network's weights: fetch the file again") from error
        return cls(descriptor, str(path))

    @property
    def channels(self) -> int:
        """Channels of the shallow features and of every tap; without a trunk 3, as the image stands in."""
        return self._anatomy.channels

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The trunk as the network has it; its blocks may take tokens and more arguments. Empty if none was found."""
        return self._anatomy.trunk

    @property
    def counted(self) -> Sequence[nn.Module]:
        """The network as a whole, for its blocks may take anything."""
        return (self.model,)

    @property
    def settings(self) -> dict[str, int | float | str]:
        """What it is; unlike other families' settings they do not rebuild the network, which takes its file."""
        return {"scale": self.scale, "architecture": self.architecture}

    def train(self, mode: bool = True) -> SpandrelNetwork:
        super().train(False)
        return self

    def trace(self, x: Tensor, taps: Sequence[int]) -> Traced:
        """As in ``Network``; ``shallow`` is what the first block takes, or ``x`` if there is no trunk."""
        h, w = x.shape[-2:]
        first_conv, trunk = self._anatomy.first_conv, self._anatomy.trunk
        tapped = [trunk[index] for index in taps]
        with _recording([first_conv, *trunk[:1], *tapped]) as calls:
            sr = self.forward(x)
        grid = calls[first_conv].given.shape[-2:]
        shallow = _as_map(calls[trunk[0]].given, grid) if trunk else x
        maps = [_as_map(calls[block].result, grid) for block in tapped]
        return Traced(sr, shallow[..., :h, :w], tuple(features[..., :h, :w] for features in maps))

    def forward(self, x: Tensor) -> Tensor:
        # A copy, because some networks (spandrel's RCAN) overwrite what they are given.
        sr = self.model(_pad(x, self._requirements).clone())
        return sr[..., : self.scale * x.shape[-2], : self.scale * x.shape[-1]]

    def tap_index(self, depth: float) -> int:
        if not self._anatomy.trunk:
            raise HkdsrError(f"{self.name} has no trunk to tap: choose a method that compares images only")
        return super().tap_index(depth)

    def _explore(self) -> Anatomy:
        """Find what ``Anatomy`` names by running the network once on a small image."""
        some = next(self.model.parameters())
        probe = torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE, device=some.device, dtype=some.dtype)
        with torch.no_grad(), _recording(self.model.modules()) as calls:
            sr = self.forward(probe)
        first = next((module for module in calls if isinstance(module, nn.Conv2d)), None)
        if first is None or sr.shape != (1, 3, self.scale * PROBE_SIZE, self.scale * PROBE_SIZE):
            raise _unfit(self.name)
        grid = calls[first].given.shape[-2:]
        trunk = _find_trunk(self.model, calls, grid)
        return Anatomy(first, trunk, _as_map(calls[trunk[0]].result, grid).shape[1] if trunk else 3)


@dataclass(frozen=True)
class Anatomy:
    """Where a network can be tapped: the convolution that runs first, the trunk and the channels of its features."""

    first_conv: nn.Module
    trunk: Sequence[nn.Module]
    channels: int


@dataclass(frozen=True)
class Call:
    """The first argument and the result of a module's call; empty tensors where they are something else."""

    given: Tensor
    result: Tensor


@contextmanager
def _recording(modules: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Call]]:
    """Record the calls of ``modules``, in the order of their returns; as copies, for later layers may work in place."""
    calls: dict[nn.Module, Call] = {}

    def record(module: nn.Module, arguments: tuple[object, ...], result: object) -> None:
        given, result = (x.clone() if isinstance(x, Tensor) else torch.empty(0) for x in ((*arguments, 0)[0], result))
        calls[module] = Call(given, result)

    handles = [module.register_forward_hook(record) for module in dict.fromkeys(modules)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _find_trunk(model: nn.Module, calls: Mapping[nn.Module, Call], grid: Sequence[int]) -> Sequence[nn.Module]:
    """The run of blocks described in ``SpandrelNetwork``; ``grid`` is the size of the first convolution's input."""
    runs: list[tuple[int, int, list[nn.Module]]] = []
    for name, container in model.named_modules():
        if not isinstance(container, nn.ModuleList | nn.Sequential):
            continue
        for _, like in groupby(container, key=type):
            run = list(like)
            composite = any(True for _ in run[0].children())
            if len(run) < 2 or not composite or any(block not in calls for block in run):
                continue
            shapes = {x.shape for block in run for x in (calls[block].given, calls[block].result)}
            if len(shapes) == 1 and _is_map(shapes.pop(), grid):
                runs.append((-name.count("."), len(run), run))
    return max(runs, key=lambda found: found[:2], default=(0, 0, []))[2]


def _is_map(shape: Sequence[int], grid: Sequence[int]) -> bool:
    """Whether features of this shape are a map (1, C, h, w) or tokens (1, h*w, C) on an h x w grid."""
    match tuple(shape):
        case (1, _, h, w):
            return (h, w) == tuple(grid)
        case (1, tokens, _):
            return tokens == grid[0] * grid[1]
        case _:
            return False


def _as_map(features: Tensor, grid: Sequence[int]) -> Tensor:
    return features if features.ndim == 4 else features.transpose(1, 2).unflatten(2, tuple(grid))


def _pad(x: Tensor, requirements: SizeRequirements) -> Tensor:
    """Pad at the bottom and right, by reflection or, where that cannot reach, by replication."""
    h, w = x.shape[-2:]
    right, bottom = requirements.get_padding(w, h)
    mode = "reflect" if right < w and bottom < h else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode) if right or bottom else x


def _unfit(name: str) -> HkdsrError:
    return HkdsrError(f"{name} cannot teach: choose a network that turns one RGB image into one x2, x3 or x4")


def _spandrel() -> ModuleType:
    try:
        import spandrel
    except (ImportError, AttributeError, OSError, RuntimeError) as error:  # all but the first from a torchvision misfit
        fix = "pip install 'hkdsr[spandrel]' with a torchvision made for this torch"
        raise HkdsrError(f"spandrel cannot be imported, which reads other projects' networks: {fix}") from error
    return spandrel
