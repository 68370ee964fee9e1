"""HKDSR+: the terms of HKDSR with sizes relative to the pixel term, and the affinity of features.

Our own method; there is no paper. The weights of HKDSR suit one pair of networks at one time: those in the released
code differ by factors of hundreds, and while the student approaches its teacher, FSM and ACF become smaller at another
rate than the L1 to the ground truth, which never becomes zero. Here, weights are shares of the pixel term:

    L = P + sum_i share_i * (mean P / mean L_i) * L_i,   P = mean |S_K - G|

The means are running means, which are constants for the gradient (hkdsr_plus_balance.py). The terms L_i are:

    logits   mean |S_K - T_K|, the L1 to the teacher's final image
    fsm      FSM of all outputs as in HKDSR; an exit has a quarter of the final output's weight
    acf      ACF of all outputs as in HKDSR; an exit has half of the final output's weight
    affinity FAKD's spatial affinity: mean |A(F_S) - A(F_T)| over the taps, A the cosines between all pairs of positions
    zoom_in  DUKD's zoom-in: mean |C^-1(S(C(u))) - T(u)|, u a random tile of G as large as the LR crop, C changes that
             can be undone

What pays depends on what the student starts from, and so do the defaults (docs/results.md). A student with random
weights gains most from FSM, ACF and affinity at equal steps. One that is pruned out of its teacher (``init = "prune"``)
gains from the teacher's image, which costs next to nothing; to that, FSM and ACF add nothing, and exits take away.

A term whose share is 0 is not computed. ``affinity`` costs one pass of the teacher in each step; both networks must
have features at relative depths (``hkdsr info`` lists them). ``zoom_in`` costs one pass of each network; it is off by
default, because it costs the most and had no effect where it was measured. The shares were chosen on validation images,
for one pair of networks (docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from hkdsr.methods.base import Method, Strides
from hkdsr.methods.checks import require_depths, require_fractions, require_least, require_weights
from hkdsr.methods.dukd import zoom_in
from hkdsr.methods.features import feature_pairs
from hkdsr.methods.hkdsr import HKDSR
from hkdsr.settings.choices import Init

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network


SCRATCH = {"fsm": 0.5, "acf": 0.5, "zoom_in": 0.0, "affinity": 1.0, "logits": 0.0}
PRUNED = {"fsm": 0.0, "acf": 0.0, "zoom_in": 0.0, "affinity": 0.0, "logits": 1.0}
"""Shares by default: of a student that starts from random weights, and of one that is pruned out of its teacher."""
CHANGED = 0.3
"""Probability of each change C of a zoom-in tile, as in DUKD."""


@dataclass(frozen=True)
class HKDSRPlus(Method):
    """Settings of HKDSR+; HkdsrError for a negative share, wrong depths, and a blend outside [0, 1]."""

    fsm_share: float | None = None
    """Size of the FSM term relative to the pixel term; 0: it is not computed. By default 0.5, for a pruned start 0."""
    acf_share: float | None = None
    """Size of the ACF term relative to the pixel term; 0: it is not computed. By default 0.5, for a pruned start 0."""
    zoom_in_share: float = 0.0
    """Size of the zoom-in term relative to the pixel term; 0: it is not computed."""
    affinity_share: float | None = None
    """Size of the affinity term relative to the pixel term; 0: it is not computed. By default 1, for a pruned start
    0."""
    logits_share: float | None = None
    """Size of the L1 to the teacher's final image relative to the pixel term; 0: it is not computed. By default 0, for
    a pruned start 1."""
    depths: tuple[float, ...] = (0.3, 0.7, 1.0)
    """Relative depths of the taps of both networks, for the affinity; 1.0 is after the last block."""
    teacher_blend: float = 0.4
    """Share of the teacher's final image that is mixed into each of its exits, from 0 to 1."""
    exits: bool = True
    """Use FSM and ACF for intermediate exits too; if false, for the final output only."""
    balance: bool = True
    """Scale the terms by running means. If false, the shares are factors of the terms with the weights of HKDSR."""
    affinity_every: int = 1
    """Compare the features of every n-th crop of a batch only, on which alone the teacher then runs."""
    affinity_samples: int | None = None
    """Number of random positions whose affinities to all positions are compared; by default all."""
    affinity_stored: bool = False
    """Keep the teacher's features on the disk like its images, so that it need not run in every step: as for FAKD."""
    exits_every: int = 1
    """Make and compare the images of the intermediate exits for every n-th crop of a batch only."""
    fsm_samples: int | None = None
    """Number of random positions of the ground truth that FSM uses in each band; by default all."""

    uses_networks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_weights(self)
        require_depths(self.depths)
        require_fractions(self, "teacher_blend")
        require_least(self, 1, "affinity_every", "affinity_samples", "exits_every", "fsm_samples")

    @property
    def uses_exits(self) -> bool:
        shares = self._all_shares()
        return self.exits and bool(shares["fsm"] or shares["acf"])

    @property
    def feature_depths(self) -> tuple[float, ...]:
        return self.depths if self._all_shares()["affinity"] else ()

    @property
    def stores_features(self) -> bool:
        return self.affinity_stored

    @property
    def strides(self) -> Strides:
        return Strides(self.exits_every, self.affinity_every)

    def resolved(self, scale: int, init: Init = "scratch") -> HKDSRPlus:
        return replace(self, **{f"{name}_share": share for name, share in self._all_shares(init).items()})

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.ModuleDict:
        """The gates of ACF and the running means."""
        from torch import nn

        from hkdsr.methods.hkdsr_plus_balance import Balance

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
            terms["zoom_in"] = zoom_in(inputs, CHANGED)
        shares = self._shares()
        if "affinity" in shares:
            distances = [spatial_affinity_distance(s, t, self.affinity_samples) for s, t in feature_pairs(inputs)]
            terms["affinity"] = torch.stack(distances).mean()
        if "logits" in shares:
            assert inputs.teacher is not None
            terms["logits"] = (inputs.student.final - inputs.teacher.final).abs().mean()
        pixel = terms.pop("pixel")
        if "balance" in parts:
            terms = parts["balance"](pixel, terms)
        return {"pixel": pixel, **{name: share * terms[name] for name, share in shares.items()}}

    def _all_shares(self, init: Init = "scratch") -> dict[str, float]:
        """The share of every term, defaults included."""
        given = {name: getattr(self, f"{name}_share") for name in SCRATCH}
        default = PRUNED if init == "prune" else SCRATCH
        return {name: default[name] if share is None else share for name, share in given.items()}

    def _shares(self) -> dict[str, float]:
        """The shares of the terms to compute."""
        return {name: share for name, share in self._all_shares().items() if share}

    def _hkdsr(self, scale: int) -> HKDSR:
        """HKDSR with its default weights, without terms whose share is 0."""
        own = HKDSR(
            teacher_blend=self.teacher_blend,
            kd_on_intermediate=self.exits,
            exits_every=self.exits_every,
            fsm_samples=self.fsm_samples,
        )
        shares = self._shares()
        own = own if "fsm" in shares else replace(own, sim_w=0.0, sim_wt=0.0)
        own = own if "acf" in shares else replace(own, ada_w=0.0, ada_wt=0.0)
        return own.resolved(scale)
