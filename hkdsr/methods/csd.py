"""CSD: the student's image near the teacher's, and far from bicubic enlargements of other images.

Y. Wang et al., "Towards compact single image super-resolution via contrastive self-distillation", IJCAI 2021:

    L = mean |S - G| + contrast_weight * sum_i w_i d(f_i(T), f_i(S)) / (sum_k d(f_i(O_k), f_i(S)) + 1e-7)

with f_i the i-th layer of a feature network, d the mean absolute difference, w_i = 1/32, 1/16, 1/8, 1/4, 1, and O_k up
to ten bicubically enlarged other images of the batch.

There, the student is the leading channels of the teacher itself: both share weights and are trained together, with a
further term mean |T - G|. Here teachers are frozen. That term is gone, and with it the shared weights: the student is a
network of its own, which must be the teacher with fewer channels; ``init = "slice"`` starts it as these. Features are
VGG19's there, and the teacher's own taps here unless a file of VGG19 is given, whose input is normalised as for
ImageNet, as it was not there.

Beside plain training a step costs three passes of the feature network, one of them with its gradient. Where a batch is
trained in parts (``training.accumulate``) or shared between processes, the other images are those of the part, and
the contrast grows as they become fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.contrastive import ContrastiveMethod
from hkdsr.methods.features import require_batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class CSD(ContrastiveMethod):
    """Settings of CSD; its losses raise HkdsrError for a batch of one image, which has no others."""

    contrast_weight: float = 0.03
    """Chosen here, for the teacher's taps: the gradient of a student that is near its teacher is then of the size of
    the pixels'. With VGG19 set 200/255, the authors' weight: theirs belongs to images in 0..255, and the contrast
    has no units."""
    negatives: int = 10
    """How many other images of the batch there are to differ from; fewer where it has no more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negatives < 1:
            raise HkdsrError(f"method.negatives is {self.negatives}: set it to 1 or more")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> None:
        """None. Raises HkdsrError unless the student is the teacher with fewer channels (or as many)."""
        require_slice(student, teachers[0])
        self.require_features(teachers[0])

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        from hkdsr.losses.contrast import contrast
        from hkdsr.nets.exits import enlarge

        assert inputs.teacher is not None
        require_batch("csd", inputs, 2)
        maps = self.feature_maps(inputs)
        anchor = maps(inputs.student.final)
        with torch.no_grad():
            positive = maps(inputs.teacher.final)
            others = maps(enlarge(inputs.lr, inputs.hr.shape[-1] // inputs.lr.shape[-1]).clamp(0, 1))
        count = min(self.negatives, len(inputs.lr) - 1)
        # Rolled by less than the batch's size, no image meets itself.
        negatives = ([m.roll(shift, 0) for m in others] for shift in range(1, count + 1))
        return {
            "pixel": self.pixel(inputs),
            "contrast": self.contrast_weight * contrast(anchor, positive, negatives),
        }


def require_slice(student: Network, teacher: Network) -> None:
    """Raise HkdsrError unless ``student`` is ``teacher`` with its leading channels only, or all of them."""
    import copy

    from hkdsr.nets.start.initialise import initialise

    def wrong(what: str) -> HkdsrError:
        return HkdsrError(
            f"csd takes a student that is its teacher with fewer channels, but {what}: build it as the teacher "
            "with a smaller width, or choose another method"
        )

    try:
        initialise(copy.deepcopy(student), "slice", teacher)
    except HkdsrError as error:
        reason, _, _ = str(error).partition(": ")
        raise wrong(reason.removeprefix("init is 'slice' but ")) from error
    # A slice may leave out blocks as well, which are layers that one of them has alone.
    ours, theirs = ({name for name, _ in network.named_parameters()} for network in (student, teacher))
    if alone := sorted(ours ^ theirs):
        raise wrong(f"only one of them has {alone[0]}")
