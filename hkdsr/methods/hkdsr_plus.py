"""HKDSR+: HKDSR with terms that keep their size beside the pixels', and the affinity of features.

Ours; there is no paper. HKDSR's weights suit one network at one time: those in the released code differ by factors of
hundreds, and as the student nears its teacher, FSM and ACF shrink at another pace than the L1 to the ground truth,
which no student can bring to zero. Here weights are shares:

    L = P + sum_i share_i * (mean P / mean L_i) * L_i,   P = mean |S_K - G|

with running means, constants for the gradient (``hkdsr.losses.balance``), over these terms:

    fsm      FSM of all outputs as in HKDSR, an exit counting a quarter of the final output
    acf      ACF of all outputs as in HKDSR, an exit counting half of the final output
    affinity FAKD's spatial affinity: mean |A(F_S) - A(F_T)| over the taps, A the cosines between all pairs of positions
    zoom_in  mean |C^-1(S(C(u))) - T(u)| of DUKD: u a random tile of G as large as the LR patch, C changes that can be
             undone

A term with share 0 is not computed. ``affinity`` costs one live pass of the teacher a step, which must be of a family
here, ``zoom_in`` one and one of the student: the dearest, and without effect where it was measured, hence 0 by default.
The shares were chosen on validation images, for one pair of networks (``docs/results.md``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method
from hkdsr.methods.dukd import zoom_in
from hkdsr.methods.features import feature_pairs, require_depths
from hkdsr.methods.hkdsr import HKDSR
from hkdsr.settings.choices import FsmNorm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


@dataclass(frozen=True)
class HKDSRPlus(Method):
    """Settings of HKDSR+; HkdsrError for a negative share and for a blend outside [0, 1]."""

    fsm_share: float = 0.5
    """Size of the FSM term relative to the pixel term; so the other shares."""
    acf_share: float = 0.5
    zoom_in_share: float = 0.0
    affinity_share: float = 1.0
    depths: tuple[float, ...] = (0.3, 0.7, 1.0)
    """Where both networks are tapped for the affinity: after these shares of their blocks."""
    probability: float = 0.3
    """That of each change of a zoomed-in image: inverted colours, either flip, transposition."""
    teacher_blend: float = 0.4
    """Share of the teacher's final image mixed into each of its exits."""
    exits: bool = True
    """Teach intermediate outputs as well; without it FSM and ACF compare the final images alone."""
    fsm_norm: FsmNorm = "none"
    balance: bool = True
    """Without it shares are plain factors of the terms with HKDSR's own weights."""

    uses_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("fsm_share", "acf_share", "zoom_in_share", "affinity_share"):
            if getattr(self, name) < 0:
                raise HkdsrError(f"method.{name} is {getattr(self, name)}: set it to 0 or more")
        require_depths(self.depths)
        for name in ("probability", "teacher_blend"):
            if not 0 <= getattr(self, name) <= 1:
                raise HkdsrError(f"method.{name} is {getattr(self, name)}: set it to a value from 0 to 1")

    @property
    def uses_exits(self) -> bool:
        return self.exits and bool(self.fsm_share or self.acf_share)

    @property
    def feature_depths(self) -> tuple[float, ...]:
        return self.depths if self.affinity_share else ()

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleDict:
        """The gates of ACF, and the running means."""
        from torch import nn

        from hkdsr.methods.balance import Balance

        heads: dict[str, nn.Module] = {"gates": self._hkdsr(student.scale).heads(student, teachers, exits)}
        if self.balance:
            heads["balance"] = Balance(list(self._shares()))
        return nn.ModuleDict(heads)

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        import torch

        from hkdsr.losses import spatial_affinity_distance

        assert heads is not None
        parts = dict(heads.named_children())
        scale = inputs.hr.shape[-1] // inputs.lr.shape[-1]
        terms = self._hkdsr(scale).losses(parts["gates"], inputs)
        if self.zoom_in_share:
            terms["zoom_in"] = zoom_in(inputs, self.probability)
        if self.affinity_share:
            distances = [spatial_affinity_distance(s, t) for s, t in feature_pairs(inputs)]
            terms["affinity"] = torch.stack(distances).mean()
        pixel = terms.pop("pixel")
        if "balance" in parts:
            terms = parts["balance"](pixel, terms)
        return {"pixel": pixel, **{name: share * terms[name] for name, share in self._shares().items()}}

    def _shares(self) -> dict[str, float]:
        shares = {name: getattr(self, f"{name}_share") for name in ("fsm", "acf", "zoom_in", "affinity")}
        return {name: share for name, share in shares.items() if share}

    def _hkdsr(self, scale: int) -> HKDSR:
        """HKDSR with its own weights, without the terms that have no share."""
        own = HKDSR(teacher_blend=self.teacher_blend, kd_on_intermediate=self.exits, fsm_norm=self.fsm_norm)
        own = own if self.fsm_share else replace(own, sim_w=0.0, sim_wt=0.0)
        own = own if self.acf_share else replace(own, ada_w=0.0, ada_wt=0.0)
        return own.resolved(scale)
