"""HKDSR+: its terms are those of HKDSR and DUKD, each at its share of the pixel term."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
import torch
from definition import naive
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.losses import spatial_affinity_distance
from hkdsr.methods import HKDSR, HKDSRPlus, Logits
from hkdsr.methods.dukd import zoom_in
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.exits import Outputs
from hkdsr.nets.families.compact import Compact
from hkdsr.settings.choices import Init

UNBALANCED = HKDSRPlus(
    balance=False, fsm_share=1.0, acf_share=1.0, zoom_in_share=1.0, affinity_share=1.0, logits_share=1.0
)
WHOLE = HKDSRPlus(zoom_in_share=0.5, logits_share=0.5)
DEPTHS = HKDSRPlus().depths
TERMS = ("fsm", "acf", "zoom_in", "affinity", "logits")


def networks() -> tuple[Compact, Compact]:
    torch.manual_seed(0)
    student, teacher = Compact(2, 4, 3).double(), Compact(2, 6, 4).double().requires_grad_(False)
    return student, teacher


def inputs(exits: int = 2) -> LossInputs:
    student, teacher = networks()
    random = torch.Generator().manual_seed(1)
    lr, hr = (torch.rand(2, 3, side, side, generator=random).double() for side in (8, 16))
    final, *others = (torch.rand(2, 3, 16, 16, generator=random).double() for _ in range(2 * exits + 1))
    own, theirs = (net.trace(lr, [net.tap_index(depth) for depth in DEPTHS]) for net in (student, teacher))
    given = Outputs(own.sr, tuple(others[:exits]), own.taps)
    return LossInputs(lr, hr, given, Outputs(final, tuple(others[exits:]), theirs.taps), student, [teacher])


def heads(method: HKDSRPlus, given: LossInputs) -> nn.Module:
    torch.manual_seed(2)
    made = method.heads(Compact(2, 4, 3), (Compact(2, 6, 4),), len(given.student.exits))
    return made.double()


def terms(method: HKDSRPlus, given: LossInputs) -> dict[str, Tensor]:
    made = heads(method, given)
    torch.manual_seed(3)
    return method.losses(made, given)


def test_without_balance_it_is_hkdsr_zoom_in_and_affinity() -> None:
    given = inputs()
    made = heads(UNBALANCED, given)
    torch.manual_seed(3)
    found = UNBALANCED.losses(made, given)
    expected = HKDSR().resolved(2).losses(made.get_submodule("gates"), given)
    torch.manual_seed(3)
    expected["zoom_in"] = zoom_in(given, 0.3)
    assert given.teacher is not None
    pairs = zip(given.student.features, given.teacher.features, strict=True)
    expected["affinity"] = torch.stack([spatial_affinity_distance(s, t) for s, t in pairs]).mean()
    expected["logits"] = Logits().losses(None, given)["logits"]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-12), name


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5, 0.5, 0.5), (0.2, 1.0, 3.0, 0.7, 2.0)])
def test_at_first_every_term_is_its_share_of_the_pixels(shares: tuple[float, float, float, float, float]) -> None:
    found = terms(HKDSRPlus(*shares), inputs())
    pixel = found["pixel"].item()
    sizes = {name: found[name].item() / pixel for name in TERMS}
    assert list(sizes.values()) == pytest.approx(shares, rel=1e-6)


def test_the_terms_are_their_formulas() -> None:
    """FSM and affinity with whole matrices; ACF and zoom-in are held against theirs in the tests of HKDSR and DUKD."""
    method = dataclasses.replace(UNBALANCED, fsm_share=0.7, acf_share=0.2, zoom_in_share=0.0, affinity_share=3.0)
    given = inputs()
    made = heads(method, given)
    found = method.losses(made, given)
    student, teacher, hr = given.student, given.teacher, given.hr
    assert teacher is not None
    theirs = [0.6 * exit_ + 0.4 * teacher.final for exit_ in teacher.exits] + [teacher.final]
    images = list(zip([*student.exits, student.final], theirs, strict=True))
    fsm = sum(w * naive(s, t, hr).item() for w, (s, t) in zip((0.2, 0.2, 0.8), images, strict=True))
    assert found["fsm"].item() == pytest.approx(0.7 * fsm, rel=1e-9)

    cosines = []
    for features in zip(student.features, teacher.features, strict=True):
        ours, its = (f.flatten(2) / f.flatten(2).norm(dim=1, keepdim=True) for f in features)
        cosines.append((ours.mT @ ours - its.mT @ its).abs().mean())
    assert found["affinity"].item() == pytest.approx(3 * torch.stack(cosines).mean().item(), rel=1e-6)
    assert found["pixel"].item() == pytest.approx((student.final - hr).abs().mean().item(), rel=1e-12)


def test_only_the_distance_to_the_ground_truth_is_left_where_student_and_teacher_are_equal() -> None:
    given = inputs()
    same = dataclasses.replace(given.student, exits=(given.student.final,) * 2)
    alike = dataclasses.replace(given, student=same, teacher=same, hr=same.final.detach())
    found = terms(dataclasses.replace(UNBALANCED, zoom_in_share=0.0), alike)
    assert {name: value.item() for name, value in found.items()} == {
        name: pytest.approx(0, abs=1e-12) for name in ("pixel", "fsm", "acf", "affinity", "logits")
    }


@pytest.mark.parametrize("name", TERMS)
def test_each_term_has_the_gradient_of_its_share(name: str) -> None:
    given = inputs()
    student = given.student_network
    assert student is not None
    weights = list(student.parameters())

    def gradient(method: HKDSRPlus) -> tuple[list[Tensor], float]:
        value = terms(method, given)[name]
        # Layers after the last tap do not affect the affinity.
        grads = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True, allow_unused=True)
        return list(grads), value.item()

    own, value = gradient(WHOLE)
    plain, unbalanced = gradient(UNBALANCED)
    assert any(grad.any() for grad in own)
    for grad, expected in zip(own, plain, strict=True):
        torch.testing.assert_close(grad, expected * (value / unbalanced), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", TERMS)
def test_a_share_of_zero_takes_the_term_away(name: str) -> None:
    method = dataclasses.replace(WHOLE, **{f"{name}_share": 0.0})
    found = terms(method, inputs())
    assert found.keys() == {"pixel", *TERMS} - {name}


def test_defaults_follow_the_students_start() -> None:
    assert terms(HKDSRPlus(), inputs()).keys() == {"pixel", "fsm", "acf", "affinity"}
    for init in get_args(Init):
        method = HKDSRPlus().resolved(2, init)
        pruned = init == "prune"
        assert method.uses_exits != pruned
        assert (method.feature_depths == ()) == pruned
        expected = {"pixel", "logits"} if pruned else {"pixel", "fsm", "acf", "affinity"}
        assert terms(method, inputs(2 if method.uses_exits else 0)).keys() == expected
    given = HKDSRPlus(0.1, 0.2, 0.3, 0.4, 0.5)
    assert given.resolved(2, "prune") == given.resolved(2) == given


def test_every_gate_there_is_has_a_gradient() -> None:
    for method in (WHOLE, HKDSRPlus(acf_share=0.0), HKDSRPlus(exits=False)):
        given = inputs(2 if method.uses_exits else 0)
        made = heads(method, given)
        torch.stack(list(method.losses(made, given).values())).sum().backward()
        assert all(parameter.grad is not None for parameter in made.parameters())


def test_exits_are_used_where_something_compares_them() -> None:
    assert HKDSRPlus().uses_exits
    assert not HKDSRPlus(exits=False).uses_exits
    assert not HKDSRPlus(fsm_share=0.0, acf_share=0.0).uses_exits


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fsm_share": -0.1}, "method.fsm_share is -0.1: set it to 0 or more"),
        ({"zoom_in_share": -1.0}, "method.zoom_in_share is -1.0: set it to 0 or more"),
        ({"affinity_share": -1.0}, "method.affinity_share is -1.0: set it to 0 or more"),
        ({"depths": (0.5, 1.5)}, "method.depths is (0.5, 1.5): set one or more, each above 0 and at most 1"),
        ({"teacher_blend": -0.5}, "method.teacher_blend is -0.5: set it to a value from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HkdsrError) as caught:
        HKDSRPlus(**settings)
    assert str(caught.value) == sentence
