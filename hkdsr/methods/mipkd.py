"""MiPKD: student's and teacher's features mixed entry by entry, and networks mixed stage by stage.

S. Li et al., "Knowledge distillation with multi-granularity mixture of priors for image super-resolution", ICLR 2025:

    L = mean |S - G| + teacher_weight * mean |S - T|
        + feature_weight * sum_k mean |M_k - F_T,k| + autoencoder_weight * sum_k mean |D_k(E_T,k(F_T,k)) - F_T,k|
        + block_weight * mean |H - G|
    M_k = D_k(I_k * E_S,k(F_S,k) + (1 - I_k) * E_T,k(F_T,k)),  I_k random and binary over channels and positions

H is the image of a network that begins as the student; behind each tap its features are mixed as above, in F_S,k's
place, and go on through the teacher's next stage or the student's, as a coin falls. The last stage ends with the
image. The teacher's stages are frozen, but gradients pass through them to the student's.

No public code was found, and the paper's full text was not at hand: the terms are those that descriptions of it name.
Not checked, and chosen here, are what H is compared with, L1 everywhere, the weights, the form of encoders and decoder,
and that a batch shares one mask and one coin. Ours is the way N_k from features of the teacher's kind to the student's
stage; it is trained by a second reconstruction in the auto-encoder's term: D_k(E_S,k(N_k(F_T,k))) is to be F_T,k, too.

Beside output distillation a step costs on average half a pass, forward and backward, of each network's stages behind
the first tap.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hkdsr.errors import HkdsrError
from hkdsr.methods.features import MeasuredFeatureMethod, feature_pairs
from hkdsr.settings.choices import MipkdTarget

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.methods.mixer import Mixer
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class MiPKD(MeasuredFeatureMethod):
    """Settings of MiPKD; HkdsrError for depths that do not rise and for shares outside [0, 1].

    With a ``block_weight`` of 0 the mixed network is not run.
    """

    teacher_weight: float = 1.0
    """Weight of the L1 to the teacher's image."""
    feature_weight: float = 0.1
    autoencoder_weight: float = 0.1
    block_weight: float = 1.0
    target: MipkdTarget = "truth"
    """What the image of the mixed network is compared with: the ground truth or the teacher's image."""
    student_entries: float = 0.5
    """Share of a code's entries that are the student's."""
    student_stages: float = 0.5
    """How probable it is, for each stage behind a tap, that it is the student's."""

    uses_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.depths) != sorted(set(self.depths)):
            raise HkdsrError(f"method.depths is {self.depths}: give them in rising order, each once")
        for name in ("student_entries", "student_stages"):
            if not 0 <= getattr(self, name) <= 1:
                raise HkdsrError(f"method.{name} is {getattr(self, name)}: set it to a value from 0 to 1")

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleList:
        """A mixer for each tap. Raises HkdsrError for a teacher that runs only as a whole."""
        from torch import nn

        from hkdsr.methods.mixer import Mixer

        (teacher, *_) = teachers
        if not teacher.runs_in_parts:
            raise HkdsrError(
                f"mipkd runs the teacher block by block, but {teacher.family} networks run only as a whole: choose "
                "another method, or a teacher of a family of this package"
            )
        widths = (student.channels, teacher.channels)
        return nn.ModuleList(Mixer(widths, sizes) for sizes in self.sizes(student, teacher))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        assert heads is not None
        assert inputs.teacher is not None
        mixers: list[Mixer] = list(heads.children())  # pyright: ignore[reportAssignmentType]
        pairs = feature_pairs(inputs)
        masks = [drawn_mask(t, self.student_entries) for _, t in pairs]
        mixed = [m(m.code(s, True), t, mask) for m, (s, t), mask in zip(mixers, pairs, masks, strict=True)]
        away = [mixer.away(own, t) for mixer, own, (_, t) in zip(mixers, mixed, pairs, strict=True)]
        rebuilt = [mixer.rebuilding_error(t) for mixer, (_, t) in zip(mixers, pairs, strict=True)]
        terms = {
            "pixel": self.pixel(inputs),
            "logits": self.teacher_weight * (inputs.student.final - inputs.teacher.final).abs().mean(),
            "feature": self.feature_weight * torch.stack(away).sum(),
            "autoencoder": self.autoencoder_weight * torch.stack(rebuilt).sum(),
        }
        if self.block_weight:
            target = inputs.hr if self.target == "truth" else inputs.teacher.final
            hybrid = self._hybrid(mixers, mixed[0], [t for _, t in pairs], masks, inputs)
            terms["block"] = self.block_weight * (hybrid - target).abs().mean()
        return terms

    def _hybrid(
        self, mixers: list[Mixer], mixed: Tensor, teachers: list[Tensor], masks: list[Tensor], inputs: LossInputs
    ) -> Tensor:
        """The image of the mixed network, from the mixed features of its first tap on."""
        from hkdsr.nets.stages import finish, run_blocks

        assert inputs.student_network is not None
        networks = {True: inputs.student_network, False: inputs.teacher_networks[0]}
        stages = {own: [network.tap_index(d) + 1 for d in self.depths] for own, network in networks.items()}
        for index, following in enumerate(mixers[1:], 1):
            own, given = self._sent(mixers[index - 1], mixed)
            with inputs.autocast or nullcontext():
                features = run_blocks(networks[own], given, *stages[own][index - 1 : index + 1]).to(given.dtype)
            mixed = following(following.code(features, own), teachers[index], masks[index])
        own, given = self._sent(mixers[-1], mixed)
        with inputs.autocast or nullcontext():
            return finish(networks[own], given, stages[own][-1], inputs.lr).to(given.dtype)

    def _sent(self, mixer: Mixer, mixed: Tensor) -> tuple[bool, Tensor]:
        """Whether the student's stage is next, and what it or the teacher's takes."""
        import torch

        own = bool(torch.rand(()) < self.student_stages)
        return own, mixer.to_student(mixed) if own else mixer.to_teacher(mixed)


def drawn_mask(features: Tensor, share: float) -> Tensor:
    """Bool (C, h, w) for features (B, C, h, w), true for a random ``share`` of its entries."""
    import torch

    # Drawn on the CPU, so that a run sees the same on every device.
    return (torch.rand(features.shape[1:]) < share).to(features.device)
