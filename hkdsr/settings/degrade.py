"""The ``[degrade]`` table: how LR crops are made as bad as real photographs, and the two published mixtures.

Every setting that is left out has the value of ``preset``. Sources of the values: the training options of Real-ESRGAN
x4plus (Wang et al., "Real-ESRGAN", ICCVW 2021) and section 3 of Zhang et al., "Designing a Practical Degradation Model
for Deep Blind Image Super-Resolution" (BSRGAN), ICCV 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from hkdsr.errors import HkdsrError
from hkdsr.settings.checks import require_range
from hkdsr.settings.choices import DegradePreset

Settings = TypeVar("Settings", "Degrade", "Round")
Value = TypeVar("Value")

KERNELS = 6
Range = tuple[float, float]


@dataclass(frozen=True)
class Round:
    """One round of blur, resizing, noise and JPEG, each by chance. By default all values are those of the preset."""

    blur: float | None = None
    """Probability of a blur."""
    blur_sigma: Range | None = None
    """Least and greatest standard deviation of the kernel in pixels; an elongated kernel draws two."""
    blur_kernels: tuple[float, ...] | None = None
    """Weights of six kinds of kernel: Gaussian, elongated Gaussian, generalised Gaussian (round, elongated), plateau
    (round, elongated)."""
    blur_sinc: float | None = None
    """Share of blurs by a sinc kernel, which makes rings along edges."""
    resize: tuple[float, ...] | None = None
    """Weights of enlarging, reducing and leaving the size. The kernel is drawn from area, bilinear and bicubic."""
    resize_range: Range | None = None
    """Smallest factor for reducing (at most 1) and greatest for enlarging (at least 1)."""
    noise: float | None = None
    """Probability of noise."""
    noise_sigma: Range | None = None
    """Least and greatest standard deviation of Gaussian noise, in grey levels of 255."""
    poisson: float | None = None
    """Share of Poisson noise, which grows with brightness; the rest is Gaussian."""
    poisson_strength: Range | None = None
    """Least and greatest factor of Poisson noise; at 1 the image is counted as 8 bits count light."""
    grey: float | None = None
    """Share of noise that is the same in all three colours."""
    jpeg: float | None = None
    """Probability of JPEG compression."""
    jpeg_quality: Range | None = None
    """Least and greatest JPEG quality, from 1 to 100."""


@dataclass(frozen=True)
class Degrade:
    """How LR crops are degraded, in one or two rounds."""

    preset: DegradePreset = "none"
    """``none``: LR images are as ``data`` says. ``real-esrgan``, ``bsrgan``: the mixture of that paper, from which the
    settings below may differ one by one."""
    rounds: int | None = None
    """1 or 2. After the last round comes the size of the LR crop and, in two rounds, a last JPEG."""
    shuffle: bool | None = None
    """Do the steps of all rounds in random order, as BSRGAN does."""
    final_sinc: float | None = None
    """Probability of a sinc filter at the end, before or after the last JPEG; not with ``shuffle``."""
    first: Round = field(default_factory=Round)
    """The first round."""
    second: Round = field(default_factory=Round)
    """The second round."""
    variants: int = 0
    """0: every crop is degraded anew in each step, and the teacher runs on it. Above 0: each whole image is degraded
    this many times before the training, and kept on the disk, where the teacher's images can be kept too."""

    def __post_init__(self) -> None:
        require_range("degrade.variants", self.variants, 0)
        require_range("degrade.rounds", self.rounds, 1, 2)
        require_range("degrade.final_sinc", self.final_sinc, 0, 1)
        for name in ("first", "second"):
            _require_round(f"degrade.{name}", getattr(self, name))
        own = (self.rounds, self.shuffle, self.final_sinc, self.variants or None, *vars(self.first).values())
        if self.preset == "none" and any(value is not None for value in (*own, *vars(self.second).values())):
            raise HkdsrError("degrade has settings but no preset: set degrade.preset to real-esrgan or bsrgan")

    @property
    def used(self) -> bool:
        """Whether LR images are degraded."""
        return self.preset != "none"

    @property
    def live(self) -> bool:
        """Whether every crop is degraded anew in each step."""
        return self.used and not self.variants

    def resolved(self, scale: int) -> Degrade:
        """The same with the preset's value for every setting that is None; ``scale`` is that from LR to HR."""
        preset = _bsrgan(scale) if self.preset == "bsrgan" else REAL_ESRGAN
        filled = replace(_filled(self, preset), first=_filled(self.first, preset.first))
        return replace(filled, second=_filled(self.second, preset.second))


def filled_in(value: Value | None) -> Value:
    """A setting of a resolved ``Degrade``, which is never None."""
    assert value is not None
    return value


def _bsrgan(scale: int) -> Degrade:
    """BSRGAN's mixture without its camera noise and its shifted kernels; its blurs widen with the scale."""
    first = Round(
        blur=1.0,
        blur_sigma=(0.1, 2 + 0.2 * scale),
        blur_kernels=(0.5, 0.5, 0.0, 0.0, 0.0, 0.0),
        blur_sinc=0.0,
        resize=(0.0, 1.0, 0.0),
        resize_range=(1 / (2 * scale), 1.0),
        noise=1.0,
        noise_sigma=(1.0, 25.0),
        poisson=0.0,
        poisson_strength=(1.0, 1.0),
        grey=0.4,
        jpeg=0.75,
        jpeg_quality=(30.0, 95.0),
    )
    second = replace(first, resize=(0.0, 0.0, 1.0), noise=0.0, jpeg=1.0)
    return Degrade("bsrgan", rounds=2, shuffle=True, final_sinc=0.0, first=first, second=second)


def _filled(settings: Settings, preset: Settings) -> Settings:
    missing = [setting.name for setting in fields(settings) if getattr(settings, setting.name) is None]
    return replace(settings, **{name: getattr(preset, name) for name in missing})


def _require_round(name: str, settings: Round) -> None:
    for part in ("blur", "blur_sinc", "noise", "poisson", "grey", "jpeg"):
        require_range(f"{name}.{part}", getattr(settings, part), 0, 1)
    limits = {
        "blur_sigma": (0.01, 20),
        "resize_range": (0.05, 8),
        "noise_sigma": (0, 255),
        "poisson_strength": (0, 20),
        "jpeg_quality": (1, 100),
    }
    for part, (least, most) in limits.items():
        if (values := getattr(settings, part)) is None:
            continue
        for value in values:
            require_range(f"{name}.{part}", value, least, most)
        if values[0] > values[1]:
            raise HkdsrError(f"{name}.{part} is {values}: set the least value first")
    if settings.resize_range and not settings.resize_range[0] <= 1 <= settings.resize_range[1]:
        raise HkdsrError(f"{name}.resize_range is {settings.resize_range}: set a value up to 1 and one from 1 on")
    for part, count in (("blur_kernels", KERNELS), ("resize", 3)):
        weights = getattr(settings, part)
        if weights is not None and (len(weights) != count or min(weights) < 0 or sum(weights) <= 0):
            raise HkdsrError(f"{name}.{part} is {weights}: set {count} weights of 0 or more, not all 0")


_FIRST = Round(
    blur=1.0,
    blur_sigma=(0.2, 3.0),
    blur_kernels=(0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
    blur_sinc=0.1,
    resize=(0.2, 0.7, 0.1),
    resize_range=(0.15, 1.5),
    noise=1.0,
    noise_sigma=(1.0, 30.0),
    poisson=0.5,
    poisson_strength=(0.05, 3.0),
    grey=0.4,
    jpeg=1.0,
    jpeg_quality=(30.0, 95.0),
)
REAL_ESRGAN = Degrade(
    "real-esrgan",
    rounds=2,
    shuffle=False,
    final_sinc=0.8,
    first=_FIRST,
    second=replace(
        _FIRST,
        blur=0.8,
        blur_sigma=(0.2, 1.5),
        resize=(0.3, 0.4, 0.3),
        resize_range=(0.3, 1.2),
        noise_sigma=(1.0, 25.0),
        poisson_strength=(0.05, 2.5),
    ),
)
