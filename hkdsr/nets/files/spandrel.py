"""SpandrelNetwork: any super-resolution network that spandrel can read, as a frozen teacher.

Its code is not ours, so its parts cannot be run one by one. Taps are recorded by hooks while the whole network runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for
from hkdsr.nets.base import RUN_SCALES
from hkdsr.nets.explored import ExploredNetwork
from hkdsr.nets.files.anatomy import Anatomy, explore, recording
from hkdsr.nets.files.pickles import REMEDY
from hkdsr.nets.grey import RUNS_GREY, each_colour
from hkdsr.user_code import reason_of

if TYPE_CHECKING:
    from spandrel import ModelDescriptor, SizeRequirements

PROBE_SIDE = 32
GREY, RGB = 1, 3
FAULTS = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a network's code raises for weights or images that do not suit it."""


class SpandrelNetwork(ExploredNetwork):
    """A network loaded by spandrel, always in evaluation mode and without trainable parameters.

    A network without a trunk (a U-Net) has no ``blocks``; methods that compare images only can use it.

    A grey network runs on each colour.

    Raises HkdsrError, naming ``name`` (by default the architecture's), if the network does not map one RGB or grey
    image to one of 1, 2, 3, 4 or 8 times the size, or fails on a small one.
    """

    family = "spandrel"
    scales = RUN_SCALES
    without_taps = "has no trunk, like a U-Net or a network that works patch by patch"

    def __init__(self, descriptor: ModelDescriptor, name: str | None = None) -> None:
        architecture = descriptor.architecture.name
        channels = {descriptor.input_channels, descriptor.output_channels}
        if descriptor.purpose == "Inpainting" or descriptor.purpose == "FaceSR":
            raise _unsuitable(name or architecture)
        if channels not in ({GREY}, {RGB}) or descriptor.scale not in self.scales:
            raise _unsuitable(name or architecture)
        super().__init__(descriptor.scale)
        self._grey = channels == {GREY}
        self.name = name or architecture
        self.architecture = architecture
        self.model: nn.Module = descriptor.model
        # The public call clamps the image and stops gradients; this is the function inside it.
        self._call = descriptor._call_fn
        self._requirements = descriptor.size_requirements
        self.pad_multiple = self._requirements.multiple_of
        self.requires_grad_(False)
        self.train(False)
        self._takes_batches = True
        self._anatomy = self._explored()
        self._takes_batches = self._same_in_batches()

    @classmethod
    def from_states(cls, states: Iterable[dict[str, Tensor]], path: Path | str) -> SpandrelNetwork:
        """The network of the first of these state dicts that spandrel knows; they were read from ``path``.

        Raises HkdsrError if spandrel is missing, knows none of them, or fails on one.
        """
        spandrel = _spandrel()
        for state in states:
            try:
                with needed_for(str(path), REMEDY):
                    descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(state)
            except spandrel.UnsupportedModelError:
                continue
            except FAULTS as error:
                raise HkdsrError(f"{path} cannot be read as a network's weights: download the file again") from error
            return cls(descriptor, str(path))
        raise HkdsrError(
            f"{path} holds the weights of a network that neither hkdsr nor spandrel knows: choose another one"
        )

    @property
    def settings(self) -> dict[str, int | float | str]:
        """Scale and architecture. They do not rebuild the network: that takes its file."""
        chosen: dict[str, int | float | str] = {"taps": ",".join(self.taps)} if self.taps else {}
        return {"scale": self.scale, "architecture": self.architecture, **chosen}

    @property
    def notes(self) -> Sequence[str]:
        """That it is grey, if it is."""
        return (RUNS_GREY,) if self._grey else ()

    def train(self, mode: bool = True) -> SpandrelNetwork:
        super().train(False)
        return self

    def _example(self) -> Tensor:
        return self._probe(1)

    def _parts(self, x: Tensor) -> Sequence[Tensor]:
        return (x,) if self._takes_batches else x.split(1)

    def _run(self, x: Tensor) -> Tensor:
        # A copy, because some networks (spandrel's RCAN) overwrite their input.
        given = _pad(x, self._requirements).clone()
        sr = each_colour(self._called, given) if self._grey else self._called(given)
        return sr[..., : self.scale * x.shape[-2], : self.scale * x.shape[-1]]

    def _called(self, x: Tensor) -> Tensor:
        return self._call(self.model, x)

    @torch.no_grad()
    def _explored(self) -> Anatomy | None:
        """The anatomy, from one pass over a small image; None for a grey network, which makes three passes."""
        probe = self._probe(1)
        try:
            with (
                needed_for(self.name, "use a smaller network, or free memory"),
                recording(self.model.modules()) as calls,
            ):
                sr = self._run(probe)
        except FAULTS as error:
            raise HkdsrError(
                f"{self.name} fails on an image of {PROBE_SIDE}x{PROBE_SIDE} as spandrel builds it "
                f"({self.architecture}, {reason_of(error)}): choose another network"
            ) from error
        anatomy = explore(self.model, calls)
        if anatomy is None or sr.shape != (1, 3, self.scale * PROBE_SIDE, self.scale * PROBE_SIDE):
            raise _unsuitable(self.name)
        return None if self._grey else anatomy

    @torch.no_grad()
    def _same_in_batches(self) -> bool:
        """Whether images of a batch come out as each by itself. spandrel promises to run single images only."""
        pair = self._probe(2)
        alone = torch.cat([self._run(image) for image in pair.split(1)])
        try:
            return torch.allclose(self._run(pair), alone, rtol=1e-3, atol=1e-3)
        except FAULTS:
            return False

    def _probe(self, images: int) -> Tensor:
        like = next(self.model.parameters())
        source = torch.Generator().manual_seed(0)
        return torch.rand(images, 3, PROBE_SIDE, PROBE_SIDE, generator=source).to(like)


def _pad(x: Tensor, requirements: SizeRequirements) -> Tensor:
    """Pad at the bottom and right, by reflection or, where that cannot reach, by replication."""
    h, w = x.shape[-2:]
    right, bottom = requirements.get_padding(w, h)
    mode = "reflect" if right < w and bottom < h else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode) if right or bottom else x


def _unsuitable(name: str) -> HkdsrError:
    return HkdsrError(
        f"{name} does not turn one RGB or grey image into one of 1, 2, 3, 4 or 8 times the size: choose another network"
    )


def _spandrel() -> ModuleType:
    try:
        import spandrel
    except (ImportError, AttributeError, OSError, RuntimeError) as error:  # the last three if torchvision does not fit
        fix = "pip install 'hkdsr[spandrel]' with a torchvision made for this torch"
        raise HkdsrError(f"spandrel, which reads networks of other projects, cannot be imported: {fix}") from error
    return spandrel
