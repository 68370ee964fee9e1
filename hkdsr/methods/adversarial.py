"""A discriminator learns to tell the student's images from the teacher's, and the student learns to deceive it.

    L = pixel_weight * mean |S - G| + adversarial_weight * mean (D(R(S)) - D(T))

D gives a score to each patch of an image (``adversarial_discriminator.py``). R leaves an image as it is and changes the
sign of its gradient (gradient reversal: Y. Ganin and V. Lempitsky, "Unsupervised domain adaptation by
backpropagation", ICML 2015). So one backward pass of one sum gives D the gradient that lowers D(S) and raises D(T),
and the student the gradient that raises D(S). Both are then updated by the same optimiser in the same step: there is
no second optimiser and no turn-taking, and a run that is killed continues exactly.

Reversal with the usual logistic or hinge loss has a flaw: where D is certain, the student gets no gradient. Here the
loss is the plain difference of scores, whose gradient does not fade. D cannot make the difference large by large
weights, because they have the spectral norm 1 (T. Miyato et al., "Spectral normalization for generative adversarial
networks", ICLR 2018). S and T are images of the same LR crop, so D cannot tell them apart by what they show.

It is for teachers that were trained by a GAN. An L1 to their images gives the mean of all details that may be there,
which is blurred; D sees that. It has no perceptual term, and a new small discriminator in place of the teacher's own,
which few publish. SDAKD (N. Kaparinos and V. Mezaris, arXiv 2510.03870) trains a student's discriminator too, in
three stages and with feature maps; this is not an implementation of it.

In addition to plain training, a step costs 4.8 K multiply-adds for each pixel of S and of T, three times (forward, and
backward to the weights and to the images). Untrained students show D nothing but their faults: train with ``logits``
first and give the result as ``student``, or begin with ``init = "prune"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.checks import require_least, require_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.adversarial_discriminator import Discriminator
    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class Adversarial(Method):
    """Settings of the adversarial method; HkdsrError for a negative weight, and for sizes below 1.

    ``losses`` raises HkdsrError for images that are too small to be halved so often.
    """

    pixel_weight: float = 1.0
    """Weight of the L1 to the ground truth, in whose place is the teacher's image if ``target`` says so."""
    adversarial_weight: float = 0.03
    """Weight of the difference of scores. More gives sharper images and more details that are in no LR image. The
    default is chosen here: sharper images at the same PSNR to the teacher, in a short training."""
    features: int = 32
    """Channels of the discriminator's first layer."""
    halvings: int = 2
    """How often the discriminator halves an image. One more doubles what a score sees, and the last layer's
    channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_weights(self)
        require_least(self, 1, "features", "halvings")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> Discriminator:
        from hkdsr.methods.adversarial_discriminator import Discriminator

        return Discriminator(self.features, self.halvings)

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        assert heads is not None
        assert inputs.teacher is not None
        student, teacher = inputs.student.final, inputs.teacher.final
        if min(student.shape[-2:]) < 1 << self.halvings:
            raise HkdsrError(
                f"method.halvings is {self.halvings}, but the images have {min(student.shape[-2:])} pixels a side: "
                "lower it, or raise data.patch"
            )
        # Together, because each pass updates the estimates of the spectral norms.
        own, given = heads(torch.cat([reversed_gradient(student), teacher])).chunk(2)
        return {
            "pixel": self.pixel_weight * (student - inputs.hr).abs().mean(),
            "adversarial": self.adversarial_weight * (own.mean() - given.mean()),
        }


def reversed_gradient(image: Tensor) -> Tensor:
    """The same values, bit for bit, whose gradient is passed on with the opposite sign."""
    return 2 * image.detach() - image
