"""MiPKD: mixes the features of student and teacher entry by entry, and both networks stage by stage.

S. Li et al., "Knowledge distillation with multi-granularity mixture of priors for image super-resolution", ICLR 2025:

    L = mean |S - G| + teacher_weight * mean |S - T|
        + feature_weight * sum_k mean |M_k - F_T,k| + autoencoder_weight * sum_k mean |D_k(E_T,k(F_T,k)) - F_T,k|
        + block_weight * mean |H - G|
    M_k = D_k(I_k * E_S,k(F_S,k) + (1 - I_k) * E_T,k(F_T,k)),  I_k random and binary over channels and positions

H is the image of a mixed network. It starts as the student, up to the first tap. At each tap, its features are mixed as
above, in place of F_S,k; then the next stage of the teacher or of the student follows, chosen at random. The last stage
ends with the image. The teacher's stages are frozen; gradients pass through them to the student's.

No public code was found and the full text of the paper was not available: the terms are those that descriptions of it
name. These are chosen here and not checked against the paper: the image that H is compared with, L1 for all terms, the
weights, the form of the encoders and the decoder, and that a batch shares one mask and one choice of stages. Our
addition is N_k, from features of the teacher's width to the student's stage. It is trained by a second reconstruction
in the auto-encoder's term: D_k(E_S,k(N_k(F_T,k))) is compared with F_T,k, too.

In addition to output distillation, a step costs on average half a forward and backward pass of each network's stages
after the first tap.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hkdsr.errors import HkdsrError
from hkdsr.methods.checks import require_fractions
from hkdsr.methods.features import MeasuredFeatureMethod, feature_pairs
from hkdsr.settings.choices import MipkdTarget

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.methods.mipkd_mixer import Mixer
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class MiPKD(MeasuredFeatureMethod):
    """Settings of MiPKD; HkdsrError for depths that are not in ascending order, a negative weight, and a fraction
    outside [0, 1].
    """

    teacher_weight: float = 1.0
    """Weight of the L1 to the teacher's image."""
    feature_weight: float = 0.1
    """Weight of the L1 between the mixed features and the teacher's."""
    autoencoder_weight: float = 0.1
    """Weight of the L1 between the teacher's features and their reconstructions."""
    block_weight: float = 1.0
    """Weight of the L1 of the mixed network's image; 0: the mixed network does not run."""
    target: MipkdTarget = "gt"
    """What the mixed network's image is compared with. ``gt``: the ground truth. ``teacher``: the teacher's image."""
    student_entries: float = 0.5
    """Fraction of the entries of a code that come from the student, from 0 to 1."""
    student_stages: float = 0.5
    """Probability that the stage after a tap is the student's."""

    uses_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.depths) != sorted(set(self.depths)):
            raise HkdsrError(f"method.depths is {self.depths}: set them in ascending order, each once")
        require_fractions(self, "student_entries", "student_stages")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList:
        """A mixer for each tap. Raises HkdsrError for networks that cannot run block by block."""
        from torch import nn

        from hkdsr.methods.mipkd_mixer import Mixer

        (teacher, *_) = teachers
        for role, network in (("teacher", teacher), ("student", student)):
            if not network.runs_in_parts:
                raise HkdsrError(
                    f"mipkd runs the {role} block by block, but {network.family} networks run only as a whole: choose "
                    f"another method, or set {role} to a network of a family of this package"
                )
        widths = (student.channels, teacher.channels)
        return nn.ModuleList(Mixer(widths, sizes) for sizes in self.sizes(student, teacher))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        assert heads is not None
        assert inputs.teacher is not None
        mixers: list[Mixer] = list(heads.children())  # pyright: ignore[reportAssignmentType]
        pairs = feature_pairs(inputs)
        masks = [random_mask(t, self.student_entries) for _, t in pairs]
        mixed = [m(m.code(s, True), t, mask) for m, (s, t), mask in zip(mixers, pairs, masks, strict=True)]
        distances = [mixer.distance(own, t) for mixer, own, (_, t) in zip(mixers, mixed, pairs, strict=True)]
        errors = [mixer.reconstruction_error(t) for mixer, (_, t) in zip(mixers, pairs, strict=True)]
        terms = {
            "pixel": self.pixel(inputs),
            "logits": self.teacher_weight * (inputs.student.final - inputs.teacher.final).abs().mean(),
            "feature": self.feature_weight * torch.stack(distances).sum(),
            "autoencoder": self.autoencoder_weight * torch.stack(errors).sum(),
        }
        if self.block_weight:
            target = inputs.hr if self.target == "gt" else inputs.teacher.final
            hybrid = self._hybrid(mixers, mixed[0], [t for _, t in pairs], masks, inputs)
            terms["block"] = self.block_weight * (hybrid - target).abs().mean()
        return terms

    def _hybrid(
        self, mixers: list[Mixer], mixed: Tensor, teachers: list[Tensor], masks: list[Tensor], inputs: LossInputs
    ) -> Tensor:
        """The image of the mixed network, from the mixed features ``mixed`` of the first tap."""
        from hkdsr.nets.stages import finish, run_blocks

        assert inputs.student_network is not None
        networks = {True: inputs.student_network, False: inputs.teacher_networks[0]}
        stages = {own: [network.tap_index(d) + 1 for d in self.depths] for own, network in networks.items()}
        for index, mixer in enumerate(mixers[1:], 1):
            own, given = self._next_stage(mixers[index - 1], mixed)
            with inputs.autocast or nullcontext():
                features = run_blocks(networks[own], given, *stages[own][index - 1 : index + 1]).to(given.dtype)
            mixed = mixer(mixer.code(features, own), teachers[index], masks[index])
        own, given = self._next_stage(mixers[-1], mixed)
        with inputs.autocast or nullcontext():
            return finish(networks[own], given, stages[own][-1], inputs.lr).to(given.dtype)

    def _next_stage(self, mixer: Mixer, mixed: Tensor) -> tuple[bool, Tensor]:
        """Whether the next stage is the student's, at random, and the input of that stage."""
        import torch

        own = bool(torch.rand(()) < self.student_stages)
        return own, mixer.to_student(mixed) if own else mixer.to_teacher(mixed)


def random_mask(features: Tensor, share: float) -> Tensor:
    """Bool (C, h, w) for features (B, C, h, w); each entry is true with probability ``share``."""
    import torch

    # Drawn on the CPU, so that the choices are the same on every device.
    return (torch.rand(features.shape[1:]) < share).to(features.device)
