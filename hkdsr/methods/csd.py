"""CSD: the student's image is to be near the teacher's and far from bicubic enlargements of other images.

Y. Wang et al., "Towards compact single image super-resolution via contrastive self-distillation", IJCAI 2021:

    L = mean |S - G| + contrast_weight * sum_i w_i d(f_i(T), f_i(S)) / (sum_k d(f_i(O_k), f_i(S)) + 1e-7)

with f_i the i-th layer of a feature network, d the mean absolute difference, w_i = 1/32, 1/16, 1/8, 1/4, 1, and O_k up
to ten bicubically enlarged other images of the batch.

Differences from the paper: there, the student consists of the leading channels of the teacher; both share weights and
are trained together, with a further term mean |T - G|. Here the teacher is frozen, so there is no such term, and the
student has weights of its own. It must have the teacher's architecture with fewer channels; ``init = "slice"`` starts
it as the leading channels. The paper's features are those of VGG19, without the normalisation of ImageNet. Here they
are the teacher's taps, or those of VGG19 with that normalisation if a file is given.

In addition to plain training, a step costs three passes of the feature network, one of them with a backward pass. With
``training.accumulate`` or several processes, the other images are those of the same part of the batch, and the term
grows as there are fewer of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.checks import require_least
from hkdsr.methods.contrastive import ContrastiveMethod
from hkdsr.methods.features import require_batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class CSD(ContrastiveMethod):
    """Settings of CSD; HkdsrError for wrong depths, a negative weight and ``negatives`` below 1.

    ``losses`` raises HkdsrError for a batch of one image, which has no other images.
    """

    contrast_weight: float = 0.03
    """Weight of the contrastive term. The default is chosen here, for the teacher's taps, so that the term's gradient
    is about as large as that of the pixel term when the student is near its teacher. For VGG19 set 200/255: the
    authors' 200 is for a pixel term in 0..255, and the contrastive term has no units."""
    negatives: int = 10
    """Number of other images of the batch to be far from; all others if the batch has fewer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_least(self, 1, "negatives")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> None:
        """None. Raises HkdsrError unless the student is the teacher with as many channels or fewer."""
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
        # A shift by less than the batch size never pairs an image with itself.
        negatives = ([m.roll(shift, 0) for m in others] for shift in range(1, count + 1))
        return {
            "pixel": self.pixel(inputs),
            "contrast": self.contrast_weight * contrast(anchor, positive, negatives),
        }


def require_slice(student: Network, teacher: Network) -> None:
    """Raise HkdsrError unless ``student`` is ``teacher`` with its leading channels, or with all of them."""
    import copy

    from hkdsr.nets.start.initialise import initialise

    def wrong(what: str) -> HkdsrError:
        return HkdsrError(
            f"csd needs a student that is its teacher with fewer channels, but {what}: set student to the teacher's "
            "settings with a smaller width, or choose another method"
        )

    try:
        initialise(copy.deepcopy(student), "slice", teacher)
    except HkdsrError as error:
        reason, _, _ = str(error).partition(": ")
        raise wrong(reason.removeprefix("init is 'slice' but ")) from error
    # A slice may also leave out blocks: then one of the networks has layers that the other lacks.
    ours, theirs = ({name for name, _ in network.named_parameters()} for network in (student, teacher))
    if alone := sorted(ours ^ theirs):
        raise wrong(f"only one of them has {alone[0]}")
