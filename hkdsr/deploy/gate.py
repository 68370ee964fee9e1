"""The gate that every exported file has to pass: it gives the images that the network gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hkdsr.data import imresize, mod_crop, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.nets.base import Network
from hkdsr.scoring import psnr_y
from hkdsr.scoring.inference import super_resolve

ODD = (61, 47)  # a cut of LR rows and columns that no stride, window or pooling divides


@dataclass(frozen=True)
class Parity:
    """How far the exported network's images are from the network's own, over ``images`` of them.

    ``step`` is the largest difference of two values in grey levels of 255, ``share`` the share of values that differ,
    ``psnr`` the lowest PSNR between two images in dB (infinite if none differs). ``loss`` is the largest change of an
    image's PSNR-Y in dB, in either direction, ``lost`` the mean of what images lose of it. ``gain`` is the
    network's own PSNR-Y less bicubic enlargement's, the mean over images. ``time`` is the time that an image takes as a
    share of the float file's, where that was measured.
    """

    images: int
    step: int
    share: float
    loss: float
    psnr: float = float("inf")
    lost: float = 0.0
    gain: float = 0.0
    time: float | None = None

    @property
    def kept(self) -> bool:
        """Whether these are the same images but for roundings: ``FLOAT`` lets them pass."""
        return FLOAT.passes(self)

    def sentence(self, runtime: str = "ONNX Runtime") -> str:
        """The same in words."""
        if not self.step:
            return f"{self.images} images by {runtime} and PyTorch: identical"
        percent = f"{100 * self.share:.3f}" if self.share >= 1e-5 else "under 0.001"
        return (
            f"{self.images} images by {runtime} and PyTorch: {percent} % of the values differ, by "
            f"at most {self.step} of 255, which is {self.psnr:.1f} dB at worst; PSNR-Y by at most {self.loss:.4f} dB"
            + (f", {self.lost:.3f} dB lost on average; time {self.time:.2f} of float's" if self.time else "")
        )


@dataclass(frozen=True)
class Gate:
    """What an exported file may do to images; attributes as in ``Parity``, None for any value."""

    step: int | None = None
    psnr: float | None = None
    loss: float | None = None
    lost: float | None = None

    def passes(self, parity: Parity) -> bool:
        """Whether no image is further off."""
        return (
            (self.step is None or parity.step <= self.step)
            and (self.psnr is None or parity.psnr >= self.psnr)
            and (self.loss is None or parity.loss <= self.loss)
            and (self.lost is None or parity.lost <= self.lost)
        )


FLOAT = Gate(step=2, psnr=70, loss=0.01)
"""The same images but for roundings."""
INT8 = Gate(lost=0.15)
"""What numbers of 8 bits may lose."""


def photographs(scale: int, images: Sequence[str | Path] = (), size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """HR images, uint8 (H, W, 3), whole and cut to odd sides of LR: those named, or the demo's photographs.

    With ``size``, LR height and width, they are cut to it instead, or continued by their reflection.

    Raises HkdsrError if there are none.
    """
    found = (rgb(path) for path in images or demo_files()[1].values())
    return [cut for hr in found for cut in ([_resized(hr, scale, size)] if size else _cuts(hr, scale))]


def compare(network: Network, exported: Network, images: Sequence[np.ndarray]) -> Parity:
    """What both make of HR ``images``, uint8 (H, W, 3) with sides that the scale divides, once reduced."""
    scale, steps, changes, gains = network.scale, [], [], []
    for hr in images:
        lr = imresize(hr, 1 / scale)
        own, other = super_resolve(network, lr), super_resolve(exported, lr)
        steps.append(np.abs(own.astype(int) - other))
        score = psnr_y(own, hr, scale)
        changes.append(score - psnr_y(other, hr, scale))
        gains.append(score - psnr_y(imresize(lr, scale), hr, scale))
    values = sum(step.size for step in steps)
    differ = sum(int(np.count_nonzero(step)) for step in steps)
    return Parity(
        images=len(steps),
        step=max(int(step.max()) for step in steps),
        share=differ / values,
        loss=max(map(abs, changes)),
        psnr=min(map(_psnr, steps)),
        lost=float(np.mean(changes)),
        gain=float(np.mean(gains)),
    )


def _psnr(difference: np.ndarray) -> float:
    """Of two images, from the difference of their values in grey levels."""
    error = float(np.square(difference).mean())
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def _resized(hr: np.ndarray, scale: int, size: tuple[int, int]) -> np.ndarray:
    """The middle of the image, in ``size`` (LR height, width)."""
    height, width = (scale * side for side in size)
    missing = [max(needed - side, 0) for needed, side in zip((height, width), hr.shape, strict=False)]
    hr = np.pad(hr, [*((0, side) for side in missing), (0, 0)], mode="symmetric")
    top, left = (hr.shape[0] - height) // 2, (hr.shape[1] - width) // 2
    return hr[top : top + height, left : left + width]


def _cuts(hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole image and a corner of it."""
    whole = mod_crop(hr, scale)
    return whole, whole[: scale * ODD[0], : scale * ODD[1]]
