"""HKDSR as a whole: vector 5 of docs/method.md, its settings, and where its gradients go."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from vectors import exits, images, set_gate

from hkdsr.errors import HkdsrError
from hkdsr.losses import Fusion, fsm
from hkdsr.methods import HKDSR
from hkdsr.methods.hkdsr import same_window
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.exits import Exits, NetworkWithExits, Outputs
from hkdsr.nets.families.compact import Compact
from hkdsr.settings.choices import Init

FSM = (0.0933519657, 0.0784485592, 0.0721744625)
ACF = (0.0368026067, 0.0273458872, 0.0228327295)
ACF_JOINT = (0.0372583956, 0.0277560277, 0.0231990314)
PIXEL = 0.0345802951
WEIGHTS: dict[str, Any] = {"ada_w": 1 / 6, "ada_wt": 1 / 3, "teacher_blend": 0.0}
JOINT: dict[str, Any] = {"acf_split": "joint", "acf_pool": "global", "acf_hidden": 96}


def outputs(of_exits: list[Tensor]) -> Outputs:
    return Outputs(of_exits[-1], tuple(of_exits[:-1]))


def gates(method: HKDSR, count: int = 2) -> nn.Module:
    """Heads with the gates of vector 4 at every exit."""
    heads = method.heads(Compact(2, 4, 1), (), count)
    for head in heads.children():
        set_gate(head)
    return heads


def terms(method: HKDSR, students: list[Tensor] | None = None) -> dict[str, Tensor]:
    own, teachers, hr = exits()
    return method.losses(gates(method), LossInputs(hr, hr, outputs(students or own), outputs(teachers)))


def total(values: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(values.values())).sum()


def weighted(values: tuple[float, ...], intermediate: float, final: float) -> float:
    return intermediate * sum(values[:-1]) + final * values[-1]


@pytest.mark.parametrize(("options", "acf", "value"), [({}, ACF, 0.144982296), (JOINT, ACF_JOINT, 0.145248718)])
def test_vector_5_terms_and_total(options: dict[str, Any], acf: tuple[float, ...], value: float) -> None:
    found = terms(HKDSR(**WEIGHTS, **options))
    assert found.keys() == {"pixel", "fsm", "acf"}
    assert found["pixel"].item() == pytest.approx(PIXEL, rel=1e-6)
    assert found["fsm"].item() == pytest.approx(weighted(FSM, 0.2, 0.8), rel=1e-6)
    assert found["acf"].item() == pytest.approx(weighted(acf, 1 / 6, 1 / 3), rel=1e-6)
    assert total(found).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_vector_5_of_each_exit(index: int) -> None:
    students, teachers, hr = exits()
    head = Fusion()
    set_gate(head)
    assert fsm(students[index], teachers[index], hr).item() == pytest.approx(FSM[index], rel=1e-6)
    assert head(students[index], teachers[index], hr).item() == pytest.approx(ACF[index], rel=1e-6)
    head = Fusion(hidden=96, split="joint", pool="global")
    set_gate(head)
    assert head(students[index], teachers[index], hr).item() == pytest.approx(ACF_JOINT[index], rel=1e-6)


def test_vector_5_gradients() -> None:
    students = [student.requires_grad_() for student in exits()[0]]
    grads = torch.autograd.grad(total(terms(HKDSR(**WEIGHTS), students)), students)
    assert grads[0][0, 0, 0, 0].item() == pytest.approx(-2.36752908e-05, rel=1e-6)
    assert grads[2][1, 2, 7, 7].item() == pytest.approx(-0.0090555387, rel=1e-6)
    sums = [grad.abs().sum().item() for grad in grads]
    assert sums == pytest.approx([1.01282119, 1.02366933, 3.92930849], rel=1e-6)


def test_single_precision_agrees() -> None:
    method = HKDSR(**WEIGHTS)
    students, teachers, hr = exits()
    student, teacher = outputs([s.float() for s in students]), outputs([t.float() for t in teachers])
    found = method.losses(gates(method).float(), LossInputs(hr.float(), hr.float(), student, teacher))
    assert total(found).item() == pytest.approx(0.144982296, rel=1e-5)


def test_blending_softens_the_teachers_exits_and_leaves_its_final_output() -> None:
    students, teachers, hr = exits()
    method = dataclasses.replace(HKDSR(**WEIGHTS), teacher_blend=0.4)
    student, teacher = outputs(students), outputs(teachers)
    found = method.losses(gates(method), LossInputs(hr, hr, student, teacher))
    softened = outputs([0.6 * t + 0.4 * teachers[-1] for t in teachers[:-1]] + teachers[-1:])
    plain = dataclasses.replace(method, teacher_blend=0.0)
    expected = plain.losses(gates(plain), LossInputs(hr, hr, student, softened))
    for name in ("pixel", "fsm", "acf"):
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-12)
    assert found["fsm"].item() != pytest.approx(weighted(FSM, 0.2, 0.8), rel=1e-3)


@pytest.mark.parametrize(("scale", "weights"), [(2, (1 / 6, 1 / 3)), (3, (0.5, 1.0)), (4, (0.5, 1.0))])
def test_weights_that_depend_on_the_scale(scale: int, weights: tuple[float, float]) -> None:
    method = HKDSR().resolved(scale)
    assert (method.ada_w, method.ada_wt) == weights
    assert (method.sim_w, method.sim_wt) == (0.2, 0.8)
    given = HKDSR(kd_on_intermediate=True, ada_w=0.0, ada_wt=7.0)
    assert given.resolved(scale) == given
    assert HKDSR(ada_wt=7.0).resolved(scale) == dataclasses.replace(given, ada_w=weights[0])


def test_exits_are_left_out_for_a_pruned_start_unless_they_are_asked_for() -> None:
    assert HKDSR().uses_exits
    assert HKDSR().uses_teacher
    inits = get_args(Init)
    assert {init for init in inits if not HKDSR().resolved(2, init).uses_exits} == {"prune"}
    assert all(HKDSR(kd_on_intermediate=True).resolved(2, init).uses_exits for init in inits)
    assert not any(HKDSR(kd_on_intermediate=False).resolved(2, init).uses_exits for init in inits)


def test_unresolved_weights_are_refused() -> None:
    with pytest.raises(HkdsrError, match=r"method.ada_w and method.ada_wt depend on the scale: .*resolved"):
        terms(HKDSR())


@pytest.mark.parametrize(
    ("options", "sim", "ada"),
    [
        ({"kd_on_final": False}, (0.2, 0.0), (1 / 6, 0.0)),
        ({"kd_on_intermediate": False}, (0.0, 0.8), (0.0, 1 / 3)),
        ({"sim_w": 0.0}, (0.0, 0.8), (1 / 6, 1 / 3)),
        ({"ada_wt": 0.0}, (0.2, 0.8), (1 / 6, 0.0)),
    ],
)
def test_terms_can_be_switched_off(options: dict[str, Any], sim: tuple[float, ...], ada: tuple[float, ...]) -> None:
    found = terms(HKDSR(**{**WEIGHTS, **options}))
    assert found["fsm"].item() == pytest.approx(weighted(FSM, *sim), rel=1e-6)
    assert found["acf"].item() == pytest.approx(weighted(ACF, *ada), rel=1e-6)
    assert found["pixel"].item() == pytest.approx(PIXEL, rel=1e-6)


def test_what_has_no_weight_is_not_computed() -> None:
    assert terms(HKDSR(sim_w=0, sim_wt=0, ada_w=0, ada_wt=0)).keys() == {"pixel"}
    assert terms(HKDSR(sim_w=0, sim_wt=0, ada_w=0, ada_wt=1)).keys() == {"pixel", "acf"}
    assert terms(HKDSR(ada_w=0, ada_wt=0)).keys() == {"pixel", "fsm"}
    assert terms(HKDSR(**WEIGHTS, kd_on_final=False, kd_on_intermediate=False)).keys() == {"pixel"}


def test_the_released_codes_cumulative_weights() -> None:
    """K, K-1, ..., 1 for K outputs, the earliest exit most (docs/method.md)."""
    found = terms(HKDSR(**WEIGHTS, legacy_cumulative=True))
    assert found["fsm"].item() == pytest.approx(0.2 * (3 * FSM[0] + 2 * FSM[1]) + 0.8 * FSM[2], rel=1e-6)
    assert found["acf"].item() == pytest.approx((3 * ACF[0] + 2 * ACF[1]) / 6 + ACF[2] / 3, rel=1e-6)
    found = terms(HKDSR(**WEIGHTS, legacy_cumulative=True, kd_on_final=False))
    assert found["fsm"].item() == pytest.approx(0.2 * (3 * FSM[0] + 2 * FSM[1]), rel=1e-6)


def test_haar_levels_of_each_output() -> None:
    students, teachers, hr = exits()
    found = terms(HKDSR(**WEIGHTS, fsm_levels=(1, 3, 1)))
    each = [fsm(s, t, hr, j).item() for s, t, j in zip(students, teachers, (1, 3, 1), strict=True)]
    assert found["fsm"].item() == pytest.approx(weighted(tuple(each), 0.2, 0.8), rel=1e-9)
    with pytest.raises(HkdsrError, match="fsm_levels has 2 entries for 3 outputs: set one, or one each"):
        HKDSR(fsm_levels=(1, 2)).heads(Compact(2, 4, 1), (), 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"fsm_mode": "low"}, {"mode": "low"}),
        ({"fsm_mode": "wave"}, {"mode": "wave"}),
        ({"fsm_mode": "direct"}, {"mode": "direct"}),
        ({"fsm_domain": "pixel", "fsm_low_weight": 0.02}, {"domain": "pixel", "low_weight": 0.02}),
        ({"fsm_norm": "cosine"}, {"norm": "cosine"}),
    ],
)
def test_variants_of_fsm_reach_the_loss(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    students, teachers, hr = exits()
    each = [fsm(s, t, hr, **theirs).item() for s, t in zip(students, teachers, strict=True)]
    found = terms(HKDSR(**WEIGHTS, **ours))
    assert found["fsm"].item() == pytest.approx(weighted(tuple(each), 0.2, 0.8), rel=1e-9)


def test_variants_of_acf_reach_the_heads() -> None:
    variant: dict[str, Any] = {"acf_inputs": "gt_s_t", "acf_bound": "none", "acf_average_gt": True}
    heads = list(HKDSR(**variant, **JOINT).heads(Compact(2, 4, 1), (), 3).children())
    assert len(heads) == 4
    for head in heads:
        assert isinstance(head, Fusion)
        assert head.gate is not None
        assert (head.inputs, head.average_gt) == ("gt_s_t", True)
        assert (head.gate.sources, head.gate.split, head.gate.pool, head.gate.bound) == (3, "joint", "global", "none")
        assert sum(p.numel() for p in head.parameters()) == (9 + 1) * 96 + (96 + 1) * 3
    assert len({id(p) for head in heads for p in head.parameters()}) == 4 * 4
    assert not list(HKDSR(acf_gate_training="frozen").heads(Compact(2, 4, 1), (), 2).parameters())


def test_gate_counts_of_vector_8() -> None:
    for options, count in (({}, 486), (JOINT, 866)):
        heads = HKDSR(**options).heads(Compact(2, 4, 1), (), 2)
        assert sum(p.numel() for p in heads.parameters()) == 3 * count


def test_windows_are_alike_uniform_and_reach_every_edge() -> None:
    rows = torch.arange(7).view(1, 1, 7, 1).expand(1, 1, 7, 5)
    columns = torch.arange(5).view(1, 1, 1, 5).expand(1, 1, 7, 5)
    places = []
    for _ in range(600):
        top, left = (window for window in same_window(4, rows, columns))
        assert top.shape == left.shape == (1, 1, 4, 4)
        places.append((int(top[0, 0, 0, 0]), int(left[0, 0, 0, 0])))
    counts = {place: places.count(place) for place in places}
    assert counts.keys() == {(top, left) for top in range(4) for left in range(2)}
    assert min(counts.values()) > 600 / 8 / 2
    whole = same_window(9, rows, columns)
    assert torch.equal(whole[0], rows)


def test_a_cropped_fsm_is_that_of_the_window() -> None:
    students, teachers, hr = exits()
    method = HKDSR(**WEIGHTS, fsm_crop=4)
    torch.manual_seed(3)
    found = terms(method)["fsm"].item()
    possible = []
    for top in range(5):
        for left in range(5):
            at = (..., slice(top, top + 4), slice(left, left + 4))
            each = [fsm(s[at], t[at], hr[at]).item() for s, t in zip(students, teachers, strict=True)]
            possible.append(weighted(tuple(each), 0.2, 0.8))
    assert min(abs(found - value) for value in possible) < 1e-12
    assert terms(HKDSR(**WEIGHTS, fsm_crop=96))["fsm"].item() == pytest.approx(weighted(FSM, 0.2, 0.8), rel=1e-6)


def test_sampling_reaches_the_loss() -> None:
    exact = weighted(FSM, 0.2, 0.8)
    draws = torch.stack([terms(HKDSR(**WEIGHTS, fsm_samples=4))["fsm"] for _ in range(100)])
    assert draws.std() > 0
    assert abs(draws.mean() - exact) < 3 * draws.std() / 100**0.5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sim_w": -0.1}, "method.sim_w is -0.1: set it to 0 or more"),
        ({"ada_wt": -1.0}, "method.ada_wt is -1.0: set it to 0 or more"),
        ({"fsm_low_weight": -1.0}, "method.fsm_low_weight is -1.0: set it to 0 or more"),
        ({"fsm_crop": 0}, "method.fsm_crop is 0: set it to 1 or more"),
        ({"fsm_samples": 0}, "method.fsm_samples is 0: set it to 1 or more"),
        ({"acf_hidden": 0}, "method.acf_hidden is 0: set it to 1 or more"),
        ({"fsm_levels": (2, 0, 1)}, "method.fsm_levels is 0: set it to 1 or more"),
        ({"fsm_levels": ()}, "method.fsm_levels is 0: set it to 1 or more"),
        ({"teacher_blend": 1.5}, "method.teacher_blend is 1.5: set it to a value from 0 to 1"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HkdsrError, match=sentence):
        HKDSR(**options)


def test_gradients_reach_student_exits_and_gates_but_neither_teacher_nor_ground_truth() -> None:
    torch.manual_seed(1)
    student_net, teacher_net = Compact(2, 8, 4), Compact(2, 8, 4)
    student = NetworkWithExits(student_net, Exits(student_net, (0.25, 0.75)))
    teacher = NetworkWithExits(teacher_net, Exits(teacher_net, (0.25, 0.75)))
    method = HKDSR().resolved(2)
    heads = method.heads(student_net, (), 2)
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16, requires_grad=True)
    total(method.losses(heads, LossInputs(hr, hr, student(lr), teacher(lr)))).backward()
    zero_start = ("body.weight", "body.bias")  # an exit that starts as bicubic has a zero gradient at first
    for name, parameter in [*student.named_parameters(), *heads.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.any() or (name.startswith("exits") and name.endswith(zero_start)), name
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_all_terms_are_zero_for_equal_images() -> None:
    _, _, hr = images()
    hr.requires_grad_()
    constant, method = hr.detach(), HKDSR().resolved(2)
    same, teacher = Outputs(hr, (hr, hr)), Outputs(constant, (constant, constant))
    found = method.losses(gates(method), LossInputs(constant, constant, same, teacher))
    assert {name: pytest.approx(0, abs=1e-14) for name in found} == {name: v.item() for name, v in found.items()}
    assert found.keys() == {"pixel", "fsm", "acf"}


def test_a_student_that_equals_its_teacher_keeps_only_the_distance_to_the_ground_truth() -> None:
    """FSM is zero; ACF is the share of the ground truth in the target times that distance."""
    _, teacher, hr = images()
    method = HKDSR(**WEIGHTS, acf_gate_training="frozen")
    both = Outputs(teacher, (teacher, teacher))
    found = method.losses(method.heads(Compact(2, 4, 1), (), 2), LossInputs(hr, hr, both, both))
    assert found["fsm"].item() == 0
    assert found["acf"].item() == pytest.approx(0.5 * (1 / 6 + 1 / 6 + 1 / 3) * 0.0317974922, rel=1e-6)
