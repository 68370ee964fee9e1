"""HKDSR: hybrid knowledge distillation from intermediate layers.

J. Xie, L. Gong, S. Shao, S. Lin, L. Luo, Neurocomputing 554 (2023) 126592. The paper's text is not public; this
follows docs/method.md, which describes the authors' released code and has test vectors:

    L = mean |S_K - G| + sum_{k<K} [sim_w FSM(S_k, T_k, G) + ada_w ACF_k(S_k, T_k, G)]
        + sim_wt FSM(S_K, T_K, G) + ada_wt ACF_K(S_K, T_K, G)

with exits 1..K, where K is the final output, the frequency similarity matrix loss FSM and the adaptive channel fusion
loss ACF (``hkdsr.losses``). docs/method.md lists the differences from the released code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method, Strides
from hkdsr.methods.checks import require_fractions, require_least
from hkdsr.settings.checks import require_range
from hkdsr.settings.choices import (
    AcfBound,
    AcfGateTraining,
    AcfInputs,
    AcfPool,
    AcfSplit,
    FsmDomain,
    FsmMode,
    FsmNorm,
    Init,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network

ACF_WEIGHTS = {2: (1 / 6, 1 / 3), 3: (0.5, 1.0), 4: (0.5, 1.0)}


@dataclass(frozen=True)
class HKDSR(Method):
    """Settings of HKDSR; the defaults are those of docs/method.md. HkdsrError for values outside their ranges."""

    sim_w: float = 0.2
    """Weight of FSM for each intermediate exit."""
    sim_wt: float = 0.8
    """Weight of FSM for the final output."""
    ada_w: float | None = None
    """Weight of ACF for each intermediate exit; by default 1/6 at x2 and 1/2 at x3 and x4."""
    ada_wt: float | None = None
    """Weight of ACF for the final output; by default 1/3 at x2 and 1 at x3 and x4."""
    teacher_blend: float = 0.4
    """Share of the teacher's final image that is mixed into each of its exits, from 0 to 1 (released code: 0.4)."""
    kd_on_intermediate: bool | None = None
    """Use FSM and ACF for the intermediate exits. If false, neither network has exits. By default they are used unless
    the student starts pruned out of its teacher (``init = "prune"``): its first blocks are then parts of a good network
    already, and exits, which want images of them, take away more than they bring (docs/results.md)."""
    kd_on_final: bool = True
    """Use FSM and ACF for the final output."""
    exits_every: int = 1
    """Make and compare the images of the intermediate exits for every n-th crop of a batch only; 1 is all of them, as
    in the paper. The expected gradient is the same."""
    legacy_cumulative: bool = False
    """Multiply the terms of the K outputs by K, K-1, ..., 1, as the released code does by mistake; for replication."""

    fsm_mode: FsmMode = "gt_similarity"
    """What FSM compares. ``gt_similarity``: similarities to the ground truth, in high-frequency bands (the paper).
    ``low``: the same in the low band only. ``direct``: similarities of pixels within each image, without the ground
    truth. ``wave``: the high-frequency bands themselves, by L1."""
    fsm_domain: FsmDomain = "wavelet"
    """``wavelet``: student and teacher are transformed too. ``pixel``: they stay RGB images of full size, compared with
    the bands of level 1 of the ground truth (the authors' first version)."""
    fsm_levels: tuple[int, ...] = (2,)
    """Levels of the Haar transform: one number for all outputs, or one for each, the final output last."""
    fsm_low_weight: float = 0.0
    """Weight of the low band in ``gt_similarity``; the authors' first version has 0.02."""
    fsm_norm: FsmNorm = "none"
    """``none``: similarities are scalar products of colour vectors. ``cosine``: they are cosines."""
    fsm_crop: int | None = None
    """Side, in HR pixels, of a random window to compare, the same in all images; by default the whole crop."""
    fsm_samples: int | None = None
    """Number of random positions of the ground truth to use in each band; unbiased, and costs less. By default all."""

    acf_inputs: AcfInputs = "gt_t"
    """Images that the target is mixed from. ``gt_t``: ground truth and teacher (the paper). ``s_t``: student and
    teacher. ``gt_s_t``: all three. ``gt``: the ground truth alone, without a gate."""
    acf_split: AcfSplit = "per_channel"
    """``per_channel``: each colour has its own gate. ``joint``: one gate for all colours."""
    acf_pool: AcfPool = "none"
    """``none``: weights for each pixel. ``global``: one set of weights for each image, from its mean colours. ``late``:
    the same, but averaged between the two layers of the gate."""
    acf_hidden: int = 32
    """Channels between the two layers of a gate."""
    acf_bound: AcfBound = "sigmoid"
    """``sigmoid``: a sigmoid before the softmax keeps both weights of a pair between 0.27 and 0.73. ``none``: without
    it, the gate can choose one image alone."""
    acf_average_gt: bool = False
    """Use the mean of target and ground truth as the target."""
    acf_gate_training: AcfGateTraining = "joint"
    """``joint``: gates are trained with the student. ``frozen``: all images have equal weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_least(self, 0, "sim_w", "sim_wt", "ada_w", "ada_wt", "fsm_low_weight")
        require_least(self, 1, "fsm_crop", "fsm_samples", "acf_hidden", "exits_every")
        require_range("method.fsm_levels", min(self.fsm_levels, default=0), 1)
        require_fractions(self, "teacher_blend")

    @property
    def uses_exits(self) -> bool:
        return self.kd_on_intermediate is not False

    @property
    def strides(self) -> Strides:
        return Strides(exits=self.exits_every)

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.Module:
        """An ACF term with its own gate for each output, the final one last; the identity for an output without ACF.

        Raises HkdsrError if ``fsm_levels`` has neither one entry nor one for each output.
        """
        from torch import nn

        from hkdsr.losses import Fusion

        if len(self.fsm_levels) not in (1, exits + 1):
            raise HkdsrError(
                f"method.fsm_levels has {len(self.fsm_levels)} entries for {exits + 1} outputs: set one, or one each"
            )
        # A gate without use would have no gradient, which training on several processes needs from every parameter.
        return nn.ModuleList(
            Fusion(
                self.acf_inputs,
                hidden=self.acf_hidden,
                split=self.acf_split,
                pool=self.acf_pool,
                bound=self.acf_bound,
                average_gt=self.acf_average_gt,
                gate_training=self.acf_gate_training,
            )
            if used
            else nn.Identity()
            for used in self._has_acf(exits + 1)
        )

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        from hkdsr.methods.inputs import every

        student, teacher, hr = inputs.student, inputs.teacher, inputs.hr
        assert heads is not None
        assert teacher is not None
        s = [*student.exits, student.final]
        final, part = (every(self.exits_every, image) for image in (teacher.final, hr))
        t = [self._blended(image, final) for image in teacher.exits] + [teacher.final]
        truth = [part] * len(student.exits) + [hr]
        sim, ada = self._per_output(len(s), self.sim_w, self.sim_wt), self._per_output(len(s), self.ada_w, self.ada_wt)
        terms = {"pixel": (student.final - hr).abs().mean()}
        if any(sim):
            terms["fsm"] = self._fsm(s, t, truth, sim)
        if any(ada):
            fused = [w * acf(a, b, g) for w, acf, a, b, g in zip(ada, heads.children(), s, t, truth, strict=True) if w]
            terms["acf"] = torch.stack(fused).sum()
        return terms

    def resolved(self, scale: int, init: Init = "scratch") -> HKDSR:
        intermediate, final = ACF_WEIGHTS[scale]
        return replace(
            self,
            kd_on_intermediate=init != "prune" if self.kd_on_intermediate is None else self.kd_on_intermediate,
            ada_w=intermediate if self.ada_w is None else self.ada_w,
            ada_wt=final if self.ada_wt is None else self.ada_wt,
        )

    def _has_acf(self, count: int) -> list[bool]:
        """Whether each output has an ACF term; weights that are not yet resolved are taken as above 0."""
        return [self.ada_w != 0 and self.uses_exits] * (count - 1) + [self.ada_wt != 0 and self.kd_on_final]

    def _blended(self, image: Tensor, final: Tensor) -> Tensor:
        return image if not self.teacher_blend else image.lerp(final, self.teacher_blend)

    def _per_output(self, count: int, intermediate: float | None, final: float | None) -> list[float]:
        if intermediate is None or final is None:
            raise HkdsrError("method.ada_w and method.ada_wt depend on the scale: set both, or call resolved(scale)")
        weights = [intermediate * self.uses_exits] * (count - 1) + [final * self.kd_on_final]
        return cumulative(weights) if self.legacy_cumulative else weights

    def _fsm(
        self, students: list[Tensor], teachers: list[Tensor], truths: list[Tensor], weights: list[float]
    ) -> Tensor:
        from hkdsr.losses import fsm_sum

        if self.fsm_crop is not None:
            images, count = same_window(self.fsm_crop, *students, *teachers, *truths), len(weights)
            students, teachers, truths = (list(images[at : at + count]) for at in (0, count, 2 * count))
        levels = self.fsm_levels * (len(weights) if len(self.fsm_levels) == 1 else 1)
        together: dict[tuple[int, int], list[int]] = {}
        for index, level in enumerate(levels):
            if weights[index]:
                together.setdefault((level, len(truths[index])), []).append(index)
        total = students[-1].new_zeros(())
        for (level, _), chosen in sorted(together.items()):
            total = total + fsm_sum(
                [students[index] for index in chosen],
                [teachers[index] for index in chosen],
                truths[chosen[0]],
                [weights[index] for index in chosen],
                level,
                mode=self.fsm_mode,
                domain=self.fsm_domain,
                norm=self.fsm_norm,
                low_weight=self.fsm_low_weight,
                samples=self.fsm_samples,
            )
        return total


def same_window(side: int, *images: Tensor) -> tuple[Tensor, ...]:
    """One random window of at most ``side`` pixels, at a uniformly random place, the same in all images."""
    import torch

    height, width = images[0].shape[-2:]
    top = int(torch.randint(max(height - side, 0) + 1, ()))
    left = int(torch.randint(max(width - side, 0) + 1, ()))
    return tuple(image[..., top : top + side, left : left + side] for image in images)


def cumulative(weights: list[float]) -> list[float]:
    """Weights of K outputs times K, K-1, ..., 1, as in the released code by mistake (docs/method.md)."""
    return [weight * (len(weights) - index) for index, weight in enumerate(weights)]
