"""A whole degradation: rounds of blur, resizing, noise and JPEG, in the order of Real-ESRGAN or shuffled as in BSRGAN.

Everything random is drawn from the generator that is given: the same one gives the same image bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import numpy as np

from hkdsr.data.degrade import jpeg, noise, resize
from hkdsr.data.degrade.blur import blurred, random_kernel, random_size
from hkdsr.data.degrade.kernels import sinc
from hkdsr.settings.degrade import Degrade, Round, filled_in

VERSION = 1
"""Raise it whenever the same settings and generator give another image."""
SMALLEST = 4
"""Least side in pixels between the steps."""

Step = Callable[[np.ndarray], np.ndarray]


def random_of(seed: int, step: int, index: int) -> np.random.Generator:
    """The generator for crop ``index`` of the batch of training step ``step``: these three decide the crop alone."""
    return np.random.default_rng(np.random.SeedSequence([seed, step], spawn_key=(index,)))


class Degrader:
    """Degrades images by ``settings``; ``scale`` is that from its results to the images that it is given."""

    def __init__(self, settings: Degrade, scale: int) -> None:
        self._settings = settings.resolved(scale)
        self._scale = scale

    def degraded(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """uint8 (scale*h, scale*w, 3) -> uint8 (h, w, 3)."""
        size = (image.shape[0] // self._scale, image.shape[1] // self._scale)
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)
        for step in self._steps(size, random):
            planes = step(planes)
        return _to_uint8(planes)

    def _steps(self, size: tuple[int, int], random: np.random.Generator) -> list[Step]:
        """The steps in their order; each draws its values when it is done."""
        settings = self._settings
        rounds = [settings.first, settings.second][: filled_in(settings.rounds)]
        own = [_round(one, size if number else None, random) for number, one in enumerate(rounds)]

        def to_size(planes: np.ndarray) -> np.ndarray:
            return resize.resized(planes, size, resize.random_kernel(random))

        def ringing(planes: np.ndarray) -> np.ndarray:
            if random.random() >= filled_in(settings.final_sinc):
                return planes
            return blurred(planes, sinc(random_size(random), random.uniform(pi / 3, pi)))

        resizing = [steps_of[1] for steps_of in own]
        *steps, last = [step for steps in own for step in steps]
        if not settings.shuffle:
            end = [[to_size, ringing], [last]]
            return [*steps, *(step for part in random.permutation(2) for step in end[part])]
        in_order = iter(resizing)  # the last one is relative to the size of the result
        shuffled = [steps[place] for place in random.permutation(len(steps))]
        return [*(next(in_order) if step in resizing else step for step in shuffled), to_size, last]


def live_degrader(settings: Degrade | None, scale: int, has_hr: bool) -> Degrader | None:
    """What degrades crops anew in each step, from HR or, where there is none, from LR; None if nothing does."""
    return Degrader(settings, scale if has_hr else 1) if settings is not None and settings.live else None


def _round(settings: Round, size: tuple[int, int] | None, random: np.random.Generator) -> list[Step]:
    """Blur, resize, noise, JPEG. ``size`` is what the resize factor is relative to; by default the image's own."""

    def happens(probability: float | None) -> bool:
        return random.random() < filled_in(probability)

    def blur(planes: np.ndarray) -> np.ndarray:
        return blurred(planes, random_kernel(settings, random)) if happens(settings.blur) else planes

    def change_size(planes: np.ndarray) -> np.ndarray:
        factor = resize.random_factor(filled_in(settings.resize), filled_in(settings.resize_range), random)
        if factor == 1 and size is None:
            return planes
        height, width = (max(round(side * factor), SMALLEST) for side in size or planes.shape[1:])
        return resize.resized(planes, (height, width), resize.random_kernel(random))

    def add_noise(planes: np.ndarray) -> np.ndarray:
        if not happens(settings.noise):
            return planes
        grey, poisson = happens(settings.grey), happens(settings.poisson)
        if poisson:
            strength = random.uniform(*filled_in(settings.poisson_strength))
            return noise.poisson_noise(planes, strength, grey, random).clip(0, 1)
        return noise.gaussian_noise(planes, random.uniform(*filled_in(settings.noise_sigma)), grey, random).clip(0, 1)

    def compress(planes: np.ndarray) -> np.ndarray:
        if not happens(settings.jpeg):
            return planes
        least, most = filled_in(settings.jpeg_quality)
        quality = int(random.integers(round(least), round(most), endpoint=True))
        return jpeg.compressed(_to_uint8(planes), quality).transpose(2, 0, 1).astype(np.float32) / np.float32(255)

    return [blur, change_size, add_noise, compress]


def _to_uint8(planes: np.ndarray) -> np.ndarray:
    """float32 (3, H, W) -> uint8 (H, W, 3), clamped and rounded."""
    return np.ascontiguousarray(np.rint(planes.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
