"""What the contrastive methods have in common: the network whose features their images are compared by."""

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
    """Settings of every contrastive method."""

    depths: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    """Where the teacher is tapped if its are the features; without effect on VGG19's."""
    features: str = field(default=TEACHER, metadata=CONTENT)
    """What images are compared by. ``teacher``: its taps. Else the file with torchvision's ImageNet weights of
    VGG19, whose five stages are looked at."""
    contrast_weight: float = 0.1
    """Weight of the contrast."""

    uses_networks: ClassVar[bool] = True

    @property
    def feature_depths(self) -> tuple[float, ...]:
        """None: it is images whose features are compared, not those of the networks that made them."""
        return ()

    @property
    def more_files(self) -> tuple[str, ...]:
        """That of VGG19, if images are compared by it."""
        return () if self.features == TEACHER else (self.features,)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The network that images are compared by."""
        return (f"features of {'the teacher' if self.features == TEACHER else 'VGG19'}",)

    def require_features(self, teacher: Network) -> None:
        """Raise HkdsrError if the teacher cannot be tapped, or the file of VGG19 be read."""
        import torch

        from hkdsr.losses.vgg import vgg19

        if self.features == TEACHER:
            for depth in self.depths:
                teacher.tap_index(depth)
        else:
            vgg19(self.features, torch.device("cpu"), torch.float32)

    def feature_maps(self, inputs: LossInputs) -> FeatureMaps:
        """A function from images (B, 3, scale*h, scale*w) to their maps, one for each layer.

        VGG19 sees images as they are. The teacher sees a random part of them as large as its LR input, the same part
        of all images of a step: so that details stay and an image costs no more than one pass of its trunk. Both run
        in full precision, as the images to be told apart are nearly equal. Neither is part of any heads.
        """
        import torch

        from hkdsr.losses.vgg import vgg19
        from hkdsr.nets.stages import tapped

        if self.features != TEACHER:
            return vgg19(self.features, inputs.hr.device, inputs.hr.dtype)
        teacher = inputs.teacher_networks[0]
        taps = [teacher.tap_index(depth) for depth in self.depths]
        (height, width), sides = inputs.lr.shape[-2:], inputs.hr.shape[-2:]
        # Drawn on the CPU, so that a run sees the same on every device.
        top, left = (
            int(torch.randint(whole - part + 1, ())) for whole, part in zip(sides, (height, width), strict=True)
        )
        return lambda images: tapped(teacher, images[..., top : top + height, left : left + width], taps)
