"""MiPKD: its formula restated, where its gradients go, and its terms for a student that equals its teacher."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small import refusal, scattered
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.losses.taps import feature_sizes
from hkdsr.methods.inputs import LossInputs
from hkdsr.methods.mipkd import MiPKD, random_mask
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs
from hkdsr.nets.families.edsr import EDSR
from hkdsr.nets.files.load import build
from hkdsr.training.distiller import feature_taps, traced_outputs

STUDENT, TEACHER = "edsr:features=3,blocks=3", "edsr:features=4,blocks=5"


def networks(student: str = STUDENT, teacher: str = TEACHER) -> tuple[Network, Network]:
    return scattered(student), scattered(teacher).requires_grad_(False)


def make_inputs(method: MiPKD, student: Network, teacher: Network, side: int = 8) -> LossInputs:
    lr = torch.rand(2, 3, side, side, dtype=torch.float64)
    hr = torch.rand(2, 3, 2 * side, 2 * side, dtype=torch.float64)
    own, given = (traced_outputs(n, lr, None, feature_taps(n, method.feature_depths)) for n in (student, teacher))
    return LossInputs(lr, hr, own, Outputs(given.final, (), given.features), student, (teacher,))


def made_heads(method: MiPKD, student: Network, teacher: Network) -> nn.ModuleList:
    heads = method.heads(student, (teacher,), 0).double()
    for parameter in heads.parameters():
        nn.init.normal_(parameter, std=0.4)
    return heads


def l1(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean()


@torch.no_grad()
def restated(method: MiPKD, heads: nn.ModuleList, inputs: LossInputs) -> dict[str, float]:
    """The module's docstring, for EDSR networks, whose blocks and tail are written out."""
    student, teacher = inputs.student_network, inputs.teacher_networks[0]
    assert student is not None
    assert inputs.teacher is not None
    own_taps, taps = (feature_taps(network, method.depths) for network in (student, teacher))
    sizes, own_sizes = (feature_sizes(network, method.depths) for network in (teacher, student))
    if not method.relative:
        sizes = own_sizes = [1.0] * len(method.depths)
    masks = [torch.rand(4, 8, 8) < method.student_entries for _ in method.depths]
    draws = [float(torch.rand(())) for _ in method.depths]
    F_T = [features / size for features, size in zip(inputs.teacher.features, sizes, strict=True)]
    F_S = [features / size for features, size in zip(inputs.student.features, own_sizes, strict=True)]
    E_S, E_T, D, N = (
        [getattr(head, name) for head in heads] for name in ("encode_student", "encode_teacher", "decode", "narrow")
    )

    def mixed(k: int, code: Tensor) -> Tensor:
        chosen = masks[k].double()
        return D[k](chosen * code + (1 - chosen) * E_T[k](F_T[k]))

    feature = sum(l1(mixed(k, E_S[k](F_S[k])), F_T[k]) for k in range(len(taps)))
    direct = sum(l1(D[k](E_T[k](F_T[k])), F_T[k]) for k in range(len(taps)))
    around = sum(l1(D[k](E_S[k](N[k](F_T[k]))), F_T[k]) for k in range(len(taps)))

    M = mixed(0, E_S[0](F_S[0]))
    image = inputs.hr
    for k, draw in enumerate(draws):
        of_student = draw < method.student_stages
        network, places = (student, own_taps) if of_student else (teacher, taps)
        features = own_sizes[k] * N[k](M) if of_student else sizes[k] * M
        last = k == len(draws) - 1
        for block in network.blocks[places[k] + 1 : None if last else places[k + 1] + 1]:
            features = block(features)
        if last:
            image = network.reconstruct(features, network.shallow(inputs.lr), inputs.lr)
        elif of_student:
            M = mixed(k + 1, E_S[k + 1](features / own_sizes[k + 1]))
        else:
            M = mixed(k + 1, E_T[k + 1](features / sizes[k + 1]))
    target = inputs.hr if method.target == "gt" else inputs.teacher.final
    S, T = inputs.student.final, inputs.teacher.final
    values = {
        "pixel": method.pixel_weight * l1(S, inputs.hr),
        "logits": method.teacher_weight * l1(S, T),
        "feature": method.feature_weight * feature,
        "autoencoder": method.autoencoder_weight * (direct + around),
        "block": method.block_weight * l1(image, target),
    }
    return {name: float(value) for name, value in values.items()}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"student_stages": 0.0},
        {"student_stages": 1.0, "student_entries": 0.2},
        {"target": "teacher", "relative": False, "depths": (0.4,)},
        {"depths": (0.5, 0.8), "pixel_weight": 2.0, "feature_weight": 3.0, "block_weight": 0.3},
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_formula(changed: dict[str, Any], seed: int) -> None:
    method = MiPKD(**changed)
    student, teacher = networks()
    inputs = make_inputs(method, student, teacher)
    heads = made_heads(method, student, teacher)
    torch.manual_seed(seed)
    found = method.losses(heads, inputs)
    torch.manual_seed(seed)
    # The sizes are kept in single precision.
    expected = restated(method, heads, inputs)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-6)


def test_terms_are_zero_for_a_student_that_equals_its_teacher() -> None:
    """Fresh mixers pass equal features on, so that every mixture of the two networks is the teacher."""
    teacher = scattered(TEACHER).requires_grad_(False)
    student = copy.deepcopy(teacher).requires_grad_()
    method = MiPKD(target="teacher")
    heads = method.heads(student, (teacher,), 0).double()
    for _ in range(4):
        terms = method.losses(heads, make_inputs(method, student, teacher))
        for name in ("logits", "feature", "autoencoder", "block"):
            assert terms[name].item() == pytest.approx(0, abs=1e-9), name


def grads(term: Tensor, module: nn.Module) -> dict[str, bool]:
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(term, parameters, allow_unused=True, retain_graph=True)
    return {name: grad is not None and bool(grad.any()) for name, grad in zip(names, found, strict=True)}


def test_gradients_pass_through_the_teachers_stages() -> None:
    method = MiPKD(student_stages=0.0)
    student, teacher = networks()
    before = copy.deepcopy(teacher.state_dict())
    heads = made_heads(method, student, teacher)
    terms = method.losses(heads, make_inputs(method, student, teacher))
    reached = grads(terms["block"], student)
    # Up to the first tap, the layers are the student's; after it, the teacher's.
    assert reached["head.0.weight"]
    assert reached["body.0.body.0.weight"]
    assert not any(value for name, value in reached.items() if name.startswith(("body.1", "body.2", "tail")))
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_the_students_stages_are_trained_in_the_mixed_network() -> None:
    method = MiPKD(student_stages=1.0)
    student, teacher = networks()
    heads = made_heads(method, student, teacher)
    terms = method.losses(heads, make_inputs(method, student, teacher))
    reached = grads(terms["block"], student)
    assert all(reached.values()), reached
    trained = grads(terms["block"], heads)
    assert all(trained[f"{tap}.{layer}.weight"] for tap in range(3) for layer in ("encode_student", "decode", "narrow"))


@pytest.mark.parametrize("term", ["feature", "autoencoder"])
def test_every_head_is_trained_whichever_stage_follows(term: str) -> None:
    method = MiPKD(student_stages=0.0)
    student, teacher = networks()
    heads = made_heads(method, student, teacher)
    terms = method.losses(heads, make_inputs(method, student, teacher))
    trained = grads(terms[term], heads)
    assert all(value for name, value in trained.items() if term == "autoencoder" or "narrow" not in name)
    assert any(grads(terms[term], student).values()) == (term == "feature")


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("imdn:features=16,blocks=3", "bsrn:features=16,blocks=4"),
        ("swinir:features=4,groups=2,blocks=2,heads=2", "hitsrf:features=32,groups=3,blocks=2,heads=2,mlp_dim=16"),
        ("compact:features=4,convs=1", "smfanet:dim=8,blocks=3"),
    ],
)
@pytest.mark.parametrize("stages", [0.0, 1.0])
def test_every_pair_has_a_mixed_network(student: str, teacher: str, stages: float) -> None:
    """Networks that join the outputs of all blocks, that pad, that have fewer blocks than there are taps."""
    method = MiPKD(student_stages=stages)
    own, other = build(student, 2).double(), build(teacher, 2).double().requires_grad_(False)
    heads = method.heads(own, (other,), 0).double()
    terms = method.losses(heads, make_inputs(method, own, other, side=9))
    assert terms["block"].isfinite()
    assert any(grads(terms["block"], own).values())


def test_without_its_weight_there_is_no_mixed_network() -> None:
    student, teacher = networks()
    method = MiPKD(block_weight=0.0)
    terms = method.losses(made_heads(method, student, teacher), make_inputs(method, student, teacher))
    assert terms.keys() == {"pixel", "logits", "feature", "autoencoder"}


def test_a_mask_has_its_share_and_is_one_for_the_batch() -> None:
    mask = random_mask(torch.zeros(3, 16, 30, 30), 0.3)
    assert mask.shape == (16, 30, 30)
    assert mask.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert 0 < mask.double().mean(0).std().item() < 0.2


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"depths": (0.5, 0.2)}, "method.depths is"),
        ({"depths": (0.5, 0.5)}, "method.depths is"),
        ({"student_entries": 1.5}, "method.student_entries is 1.5: "),
        ({"student_stages": -0.1}, "method.student_stages is -0.1: "),
        ({"block_weight": -1.0}, "method.block_weight is -1.0: "),
    ],
)
def test_wrong_settings_are_refused(changed: dict[str, Any], sentence: str) -> None:
    assert refusal(lambda: MiPKD(**changed)).startswith(sentence)


class WholeEDSR(EDSR):
    """A network whose parts cannot be run."""

    runs_in_parts = False


def test_a_teacher_that_runs_only_as_a_whole_is_refused() -> None:
    student, teacher = networks()[0], WholeEDSR(2, features=8, blocks=2)
    with pytest.raises(HkdsrError, match=r"^mipkd .* edsr networks run only as a whole: "):
        MiPKD().heads(student, (teacher,), 0)
