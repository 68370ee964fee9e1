"""HKDSR: hybrid knowledge distillation from intermediate layers.

J. Xie, L. Gong, S. Shao, S. Lin, L. Luo, Neurocomputing 554 (2023) 126592. The paper's text is not public; this
follows docs/method.md, which was read off the authors' released code and has test vectors:

    L = mean |S_K - G| + sum_{k<K} [sim_w FSM(S_k, T_k, G) + ada_w ACF_k(S_k, T_k, G)]
        + sim_wt FSM(S_K, T_K, G) + ada_wt ACF_K(S_K, T_K, G)

with exits 1..K (K the final output), FSM the frequency similarity matrix loss and ACF the adaptive channel fusion loss.
Differences from the released code, all of them its faults: named operands, [0, 1] units everywhere, gates that are
saved and averaged with the student, uniform crops, no exit on the last block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method, cumulative
from hkdsr.settings.choices import AcfBound, AcfGateTraining, AcfInputs, AcfPool, AcfSplit, FsmDomain, FsmMode, FsmNorm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network

ACF_WEIGHTS = {2: (1 / 6, 1 / 3), 3: (0.5, 1.0), 4: (0.5, 1.0)}


@dataclass(frozen=True)
class HKDSR(Method):
    """Settings of HKDSR; the defaults are those of docs/method.md."""

    sim_w: float = 0.2
    """Weight of FSM on each intermediate exit, for images in [0, 1]."""
    sim_wt: float = 0.8
    """Weight of FSM on the final output."""
    ada_w: float | None = None
    """Weight of ACF on each intermediate exit; by default 1/6 at x2 and 1/2 at x3 and x4."""
    ada_wt: float | None = None
    """Weight of ACF on the final output; by default 1/3 at x2 and 1 at x3 and x4."""
    teacher_blend: float = 0.4
    """Share of the teacher's final image mixed into each of its exits (released code: 0.4; 0 for none)."""
    kd_on_intermediate: bool = True
    kd_on_final: bool = True
    legacy_cumulative: bool = False
    """Weight the exits' terms K, K-1, ..., 1 as the released code does by mistake; for replication only."""

    fsm_mode: FsmMode = "gt_similarity"
    fsm_domain: FsmDomain = "wavelet"
    fsm_levels: tuple[int, ...] = (2,)
    """Haar levels: one for all exits, or one for each (the final output last)."""
    fsm_low_weight: float = 0.0
    fsm_norm: FsmNorm = "none"
    fsm_crop: int | None = None
    """Compare one random window of this side (HR pixels, the same in S, T and G) instead of the whole patch."""
    fsm_samples: int | None = None
    """Compare with this many random positions of G per band instead of all: unbiased, and cheaper still."""

    acf_inputs: AcfInputs = "gt_t"
    acf_split: AcfSplit = "per_channel"
    acf_pool: AcfPool = "none"
    acf_hidden: int = 32
    acf_bound: AcfBound = "sigmoid"
    acf_average_gt: bool = False
    acf_gate_training: AcfGateTraining = "joint"

    def __post_init__(self) -> None:
        for name in ("sim_w", "sim_wt", "ada_w", "ada_wt", "fsm_low_weight"):
            _require(name, getattr(self, name), 0)
        for name in ("fsm_crop", "fsm_samples", "acf_hidden"):
            _require(name, getattr(self, name), 1)
        _require("fsm_levels", min(self.fsm_levels, default=0), 1)
        if not 0 <= self.teacher_blend <= 1:
            raise HkdsrError(f"method.teacher_blend is {self.teacher_blend}: set it to a share between 0 and 1")

    @property
    def uses_exits(self) -> bool:
        return self.kd_on_intermediate

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.Module:
        """One ACF term with its own gate for each exit, the final output last."""
        from torch import nn

        from hkdsr.losses import Fusion

        if len(self.fsm_levels) not in (1, exits + 1):
            raise HkdsrError(
                f"method.fsm_levels has {len(self.fsm_levels)} entries for {exits + 1} outputs: give one, or one each"
            )
        # A gate that nothing trains would be dead weight in checkpoints, and make distributed training wait for it.
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
            for used in self._fused(exits + 1)
        )

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        student, teacher, hr = inputs.student, inputs.teacher, inputs.hr
        assert heads is not None
        assert teacher is not None
        s = [*student.exits, student.final]
        t = [self._softened(image, teacher.final) for image in teacher.exits] + [teacher.final]
        sim, ada = self._per_output(len(s), self.sim_w, self.sim_wt), self._per_output(len(s), self.ada_w, self.ada_wt)
        terms = {"pixel": (student.final - hr).abs().mean()}
        if any(sim):
            terms["fsm"] = self._fsm(s, t, hr, sim)
        if any(ada):
            fused = [w * acf(a, b, hr) for w, acf, a, b in zip(ada, heads.children(), s, t, strict=True) if w]
            terms["acf"] = torch.stack(fused).sum()
        return terms

    def resolved(self, scale: int) -> HKDSR:
        intermediate, final = ACF_WEIGHTS[scale]
        return replace(
            self,
            ada_w=intermediate if self.ada_w is None else self.ada_w,
            ada_wt=final if self.ada_wt is None else self.ada_wt,
        )

    def _fused(self, count: int) -> list[bool]:
        """Which of the outputs have an ACF term; a weight that is not resolved yet counts as one."""
        return [self.ada_w != 0 and self.kd_on_intermediate] * (count - 1) + [self.ada_wt != 0 and self.kd_on_final]

    def _softened(self, image: Tensor, final: Tensor) -> Tensor:
        return image if not self.teacher_blend else image.lerp(final, self.teacher_blend)

    def _per_output(self, count: int, intermediate: float | None, final: float | None) -> list[float]:
        if intermediate is None or final is None:
            raise HkdsrError("method.ada_w and method.ada_wt depend on the scale: set both, or call resolved(scale)")
        weights = [intermediate * self.kd_on_intermediate] * (count - 1) + [final * self.kd_on_final]
        return cumulative(weights) if self.legacy_cumulative else weights

    def _fsm(self, students: list[Tensor], teachers: list[Tensor], hr: Tensor, weights: list[float]) -> Tensor:
        from hkdsr.losses import fsm_sum

        if self.fsm_crop is not None:
            hr, *both = _same_window(self.fsm_crop, hr, *students, *teachers)
            students, teachers = both[: len(students)], both[len(students) :]
        levels = self.fsm_levels * (len(weights) if len(self.fsm_levels) == 1 else 1)
        total = hr.new_zeros(())
        for level in sorted(set(levels)):
            chosen = [index for index, own in enumerate(levels) if own == level and weights[index]]
            if chosen:
                total = total + fsm_sum(
                    [students[index] for index in chosen],
                    [teachers[index] for index in chosen],
                    hr,
                    [weights[index] for index in chosen],
                    level,
                    mode=self.fsm_mode,
                    domain=self.fsm_domain,
                    norm=self.fsm_norm,
                    low_weight=self.fsm_low_weight,
                    samples=self.fsm_samples,
                )
        return total


def _same_window(side: int, *images: Tensor) -> tuple[Tensor, ...]:
    """One random window of at most ``side`` pixels, uniform over all places, cut from every image alike."""
    import torch

    height, width = images[0].shape[-2:]
    top = int(torch.randint(max(height - side, 0) + 1, ()))
    left = int(torch.randint(max(width - side, 0) + 1, ()))
    return tuple(image[..., top : top + side, left : left + side] for image in images)


def _require(name: str, value: float | None, least: int) -> None:
    if value is not None and value < least:
        raise HkdsrError(f"method.{name} is {value}: set it to {least} or more")
