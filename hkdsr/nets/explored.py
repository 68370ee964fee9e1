"""ExploredNetwork: code that is not ours, whose taps are recorded by hooks while the whole network runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Traced
from hkdsr.nets.files.anatomy import Anatomy, recording, with_taps
from hkdsr.nets.opaque import OpaqueNetwork


class ExploredNetwork(OpaqueNetwork):
    """A network around ``model``, whose trunk, if it has one, ``hkdsr.nets.files.anatomy`` has found.

    Taps are the outputs of the trunk's blocks, each (B, channels, h, w) for an image (B, 3, h, w), even if the network
    pads the image or works at a reduced size. Without a trunk ``tap_index`` raises HkdsrError.
    """

    model: nn.Module
    taps: tuple[str, ...] = ()
    """The paths that ``choose_taps`` was given."""
    _anatomy: Anatomy | None

    @property
    def channels(self) -> int:
        """Channels of the shallow features and of every tap; 3 without a trunk, where the image replaces features."""
        return self._anatomy.channels if self._anatomy else 3

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks of the trunk, which may take tokens and more arguments; empty without a trunk."""
        return self._anatomy.trunk if self._anatomy else ()

    @property
    def counted(self) -> Sequence[nn.Module]:
        """The network as a whole, since its blocks may take anything."""
        return (self.model,)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(part) for part in self._parts(x)])

    def trace(self, x: Tensor, taps: Sequence[int]) -> Traced:
        """As in ``Network``; ``shallow`` is the input of the first block, or ``x`` if there is no trunk."""
        if self._anatomy is None:
            return Traced(self.forward(x), x, ())
        h, w = x.shape[-2:]
        parts = [self._anatomy.trace(self._run, part, taps) for part in self._parts(x)]
        sr, *features = (torch.cat(same) for same in zip(*parts, strict=True))
        shallow, *maps = (found[..., :h, :w] for found in features)
        return Traced(sr, shallow, tuple(maps))

    @property
    def can_be_tapped(self) -> bool:
        """Whether ``choose_taps`` may find features: not in what runs as a whole, is grey, or has no convolution."""
        return self._anatomy is not None

    @torch.no_grad()
    def choose_taps(self, paths: Sequence[str]) -> None:
        """Make the modules at these ``paths`` the blocks, in this order, whatever trunk was found.

        Raises HkdsrError for a path without a module, and for a module whose output is no map of features.
        """
        known = dict(self.model.named_modules())
        modules = {path: known.get(path) or known.get(path.removeprefix("model.")) for path in paths}
        for path, module in modules.items():
            if module is None:
                like = get_close_matches(path, filter(None, known), n=3, cutoff=0)
                raise HkdsrError(
                    f"{self.name} has no module {path}, which teacher_taps names: name some of its modules, such as "
                    f"{', '.join(like)}"
                )
        if self._anatomy is None:
            raise HkdsrError(
                f"{self.name} has no convolution, or is grey, and cannot be tapped: leave teacher_taps out"
            )
        taps = {path: module for path, module in modules.items() if module is not None}
        with recording([self._anatomy.lift, *taps.values()]) as calls:
            self._run(self._example())
        self._anatomy = with_taps(self._anatomy, taps, calls, self.name)
        self.taps = tuple(paths)

    @abstractmethod
    def _example(self) -> Tensor:
        """A small image (1, 3, h, w) of a size that the code takes, on its device."""

    @abstractmethod
    def _run(self, x: Tensor) -> Tensor:
        """The SR image of (B, 3, h, w)."""

    @abstractmethod
    def _parts(self, x: Tensor) -> Sequence[Tensor]:
        """The parts of a batch that the code can run at once: the batch, or its images."""
