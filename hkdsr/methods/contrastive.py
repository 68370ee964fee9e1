"""What the contrastive methods share: the network that gives the features in which images are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from hkdsr.methods.features import FeatureMethod
from hkdsr.settings.fields import CONTENT

if TYPE_CHECKING:
    from torch import Tensor

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network

TEACHER = "teacher"

FeatureMaps = Callable[["Tensor"], "Sequence[Tensor]"]


@dataclass(frozen=True)
class ContrastiveMethod(FeatureMethod):
    """Settings of every contrastive method; HkdsrError for wrong depths and a negative weight."""

    depths: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    """Relative depths at which the teacher is tapped if ``features`` is ``teacher``; VGG19 has layers of its own."""
    features: str = field(default=TEACHER, metadata=CONTENT)
    """The network in whose features images are compared. ``teacher``: the teacher, at ``depths``. Else a file with
    torchvision's ImageNet weights of VGG19, which is used at the first ReLU of each of its five stages."""
    contrast_weight: float = 0.1
    """Weight of the contrastive term."""

    uses_networks: ClassVar[bool] = True

    @property
    def feature_depths(self) -> tuple[float, ...]:
        """None: the features are computed from output images."""
        return ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The network that gives the features."""
        return (f"features of {'the teacher' if self.features == TEACHER else 'VGG19'}",)

    def require_features(self, teacher: Network) -> None:
        """Raise HkdsrError if the teacher cannot be tapped, or the file of VGG19 cannot be read."""
        import torch

        from hkdsr.losses.vgg import vgg19

        if self.features == TEACHER:
            for depth in self.depths:
                teacher.tap_index(depth)
        else:
            vgg19(self.features, torch.device("cpu"), torch.float32)

    def feature_maps(self, inputs: LossInputs) -> FeatureMaps:
        """A function from images (B, 3, scale*h, scale*w) to their features, one map for each layer.

        VGG19 gets the whole images. The teacher gets a random window of them, as large as its LR input and at the same
        place for all images of a step, so that details remain and an image costs one pass of its trunk. Both run in
        full precision, since the images are nearly equal. Neither becomes part of the heads.
        """
        import torch

        from hkdsr.losses.vgg import vgg19
        from hkdsr.nets.stages import tapped

        if self.features != TEACHER:
            return vgg19(self.features, inputs.hr.device, inputs.hr.dtype)
        teacher = inputs.teacher_networks[0]
        taps = [teacher.tap_index(depth) for depth in self.depths]
        (height, width), sides = inputs.lr.shape[-2:], inputs.hr.shape[-2:]
        # Drawn on the CPU, so that the choices are the same on every device.
        top, left = (
            int(torch.randint(whole - part + 1, ())) for whole, part in zip(sides, (height, width), strict=True)
        )
        return lambda images: tapped(teacher, images[..., top : top + height, left : left + width], taps)
