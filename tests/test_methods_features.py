"""Methods that compare features, against plain restatements of their formulas in NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hkdsr.methods.at import AttentionTransfer
from hkdsr.methods.fakd import FAKD
from hkdsr.methods.features import FeatureMethod
from hkdsr.methods.fitnet import FitNet
from hkdsr.methods.inputs import LossInputs
from hkdsr.methods.rkd import RKD
from hkdsr.methods.sp import SimilarityPreserving
from hkdsr.methods.srkd import SRKD
from hkdsr.methods.vid import VID
from hkdsr.nets.exits import Outputs
from hkdsr.nets.families.compact import Compact
from hkdsr.settings.choices import AtNorm, SrkdStatistic

BATCH, SIDE = 4, 5
NARROW, WIDE = 3, 6
ABSOLUTE: dict[str, Any] = {"relative": False}

Array = np.ndarray
Formula = Callable[[FeatureMethod, nn.Module | None, Array, Array], float]


def networks(student: int = NARROW, teacher: int = WIDE) -> tuple[Compact, Compact]:
    torch.manual_seed(0)
    return Compact(2, student, 3).double(), Compact(2, teacher, 4).double()


def inputs(method: FeatureMethod, student: int = NARROW, teacher: int = WIDE, alike: bool = False) -> LossInputs:
    random = torch.Generator().manual_seed(1)

    def features(width: int) -> tuple[Tensor, ...]:
        shape = (len(method.depths), BATCH, width, SIDE, SIDE)
        return tuple(torch.randn(shape, generator=random, dtype=torch.float64))

    lr, hr, final, theirs = torch.rand(4, BATCH, 3, 2 * SIDE, 2 * SIDE, generator=random, dtype=torch.float64)
    own = Outputs(final, features=features(student))
    return LossInputs(lr, hr, own, own if alike else Outputs(theirs, features=features(teacher)))


def heads(method: FeatureMethod, student: int = NARROW, teacher: int = WIDE) -> nn.Module | None:
    narrow, wide = networks(student, teacher)
    made = method.heads(narrow, (wide,), 0)
    return None if made is None else made.double()


def array(parameter: Any) -> Array:
    return parameter.detach().numpy()


def conv1x1(layer: nn.Module, features: Array) -> Array:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    mixed = np.einsum("oc,bchw->bohw", array(layer.weight)[..., 0, 0], features)
    return mixed + array(layer.bias)[:, None, None]


def of_tap(made: nn.Module | None, index: int) -> nn.Module:
    assert made is not None
    return list(made.children())[index]


def perceptron(body: nn.Module, features: Array) -> Array:
    first, activation, second = body.children()
    hidden = conv1x1(first, features)
    slope = array(activation.weight).item() if isinstance(activation, nn.PReLU) else 0.0
    return conv1x1(second, np.where(hidden > 0, hidden, slope * hidden))


def softplus(values: Array) -> Array:
    return np.log1p(np.exp(values))


def hint(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    assert head is not None
    return float(((conv1x1(head.get_submodule("project"), s) - t) ** 2).mean())


def channel_mean(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    return float(np.abs(s.mean(1) - t.mean(1)).mean())


def attention(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    assert isinstance(method, AttentionTransfer)
    differences = []
    for one, other in zip(s, t, strict=True):
        maps = [(f**2).sum(0) for f in (one, other)]
        ours, theirs = (m / (math.sqrt((m**2).sum()) + 1e-6) for m in maps)
        differences.append(ours - theirs)
    if method.norm == "l2":
        return float(np.mean([math.sqrt((d**2).sum()) for d in differences]))
    return float(np.mean([np.abs(d) if method.norm == "l1" else d**2 for d in differences]))


def similarity(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    rows = [np.array([[(a * b).sum() for b in f] for a in f]) for f in (s, t)]
    ours, theirs = (g / np.sqrt((g**2).sum(1, keepdims=True)) for g in rows)
    return float(((ours - theirs) ** 2).sum() / len(s) ** 2)


def huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def distances(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    def psi(f: Array) -> Array:
        apart = np.array([[math.sqrt(((a - b) ** 2).sum()) for b in f] for a in f])
        return apart / apart[apart > 0].mean()

    return float(np.mean([huber(a - b) for a, b in zip(psi(s).flat, psi(t).flat, strict=True)]))


def angles(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    def cosine(f: Array, i: int, j: int, k: int) -> float:
        one, other = (f[i] - f[j]).ravel(), (f[k] - f[j]).ravel()
        lengths = math.sqrt((one**2).sum()) * math.sqrt((other**2).sum())
        return float(one @ other) / lengths if lengths else 0.0

    triples = product(range(len(s)), repeat=3)
    return float(np.mean([huber(cosine(s, *triple) - cosine(t, *triple)) for triple in triples]))


def gaussian(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    assert head is not None
    variance = softplus(array(head.scale)) + 1e-5
    mean = perceptron(head.get_submodule("mean.project"), s)
    return float(((t - mean) ** 2 / (2 * variance) + 0.5 * np.log(variance)).mean())


def laplace(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    assert head is not None
    scale = softplus(perceptron(head.get_submodule("scale"), s)) + 1e-5
    mean = perceptron(head.get_submodule("mean.project"), s)
    return float((np.log(2 * scale) + np.abs(t - mean) / scale).mean())


def affinity(rows: Array) -> Array:
    """Cosines between rows (N, D)."""
    unit = rows / (np.sqrt((rows**2).sum(1, keepdims=True)) + 1e-8)
    return unit @ unit.T


def spatial(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    whole = [[affinity(f.reshape(len(f), -1).T) for f in features] for features in (s, t)]
    return float(np.abs(np.array(whole[0]) - np.array(whole[1])).mean())


def channel(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    assert head is not None
    whole = [[affinity(f.reshape(len(f), -1)) for f in features] for features in (conv1x1(head, s), t)]
    return float(np.abs(np.array(whole[0]) - np.array(whole[1])).mean())


def statistic(method: FeatureMethod, head: nn.Module | None, s: Array, t: Array) -> float:
    assert isinstance(method, SRKD)
    maps = {
        "mean": lambda f: f.mean(1),
        "power_mean": lambda f: (np.abs(f) ** method.power).mean(1),
        "max": lambda f: f.max(1),
        "min": lambda f: f.min(1),
    }
    return float(((maps[method.statistic](s) - maps[method.statistic](t)) ** 2).mean())


CASES: dict[str, tuple[FeatureMethod, dict[str, tuple[float, Formula]]]] = {
    "fitnet": (FitNet((0.4, 0.9), weight=0.3, **ABSOLUTE), {"hint": (0.3, hint)}),
    "fitnet, channel mean": (FitNet(form="channel_mean", **ABSOLUTE), {"hint": (0.1, channel_mean)}),
    **{
        f"at, {norm}": (AttentionTransfer(weight=7.0, norm=norm), {"attention": (7.0, attention)})
        for norm in get_args(AtNorm)
    },
    "sp": (SimilarityPreserving((0.5, 1.0)), {"similarity": (3.0, similarity)}),
    "rkd": (RKD(), {"distance": (1.0, distances), "angle": (2.0, angles)}),
    "vid": (VID(**ABSOLUTE), {"likelihood": (0.1, gaussian)}),
    "vid, laplace": (VID(weight=2.0, pdf="laplace", **ABSOLUTE), {"likelihood": (2.0, laplace)}),
    "fakd": (FAKD(channel_weight=0.2), {"spatial": (10 / 255, spatial), "channel": (0.2, channel)}),
    **{
        f"srkd, {kind}": (SRKD(statistic=kind, power=3.0, **ABSOLUTE), {"statistic": (0.1, statistic)})
        for kind in get_args(SrkdStatistic)
    },
}
EACH = pytest.mark.parametrize("case", CASES)
ZERO = [name for name in CASES if not name.startswith("vid")]
"""A likelihood has no zero; every other term is zero where both networks have the same features."""


@EACH
def test_terms_are_their_formulas(case: str) -> None:
    method, formulas = CASES[case]
    given, made = inputs(method), heads(method)
    found = method.losses(made, given)
    assert given.teacher is not None
    names = {"pixel", *formulas} | ({"logits"} if isinstance(method, FAKD) else set())
    assert found.keys() == names
    final, hr = given.student.final, given.hr
    assert found["pixel"].item() == pytest.approx(method.pixel_weight * np.abs(array(final) - array(hr)).mean())
    for name, (weight, formula) in formulas.items():
        taps = zip(given.student.features, given.teacher.features, strict=True)
        expected = sum(
            formula(method, of_tap(made, index) if made is not None else None, array(s), array(t))
            for index, (s, t) in enumerate(taps)
        )
        assert found[name].item() == pytest.approx(weight * expected, rel=1e-9), name


@EACH
def test_gradients_are_those_of_finite_differences(case: str) -> None:
    method, formulas = CASES[case]
    given, made = inputs(method), heads(method)
    parameters = [] if made is None else list(made.parameters())

    def taught(*inputs: Tensor) -> Tensor:
        student = dataclasses.replace(given.student, features=inputs[: len(method.depths)])
        terms = method.losses(made, dataclasses.replace(given, student=student))
        return torch.stack([terms[name] for name in formulas]).sum()

    features = [tap.clone().requires_grad_() for tap in given.student.features]
    assert torch.autograd.gradcheck(taught, [*features, *parameters], atol=1e-6, fast_mode=True)
    grads = torch.autograd.grad(taught(*features), [*features, *parameters])
    assert all(grad.any() for grad in grads)


@EACH
def test_no_gradient_reaches_the_teacher(case: str) -> None:
    method, _ = CASES[case]
    given = inputs(method)
    assert given.teacher is not None
    theirs = tuple(tap.clone().requires_grad_() for tap in given.teacher.features)
    own = tuple(tap.clone().requires_grad_() for tap in given.student.features)
    student, teacher = (dataclasses.replace(o, features=f) for o, f in ((given.student, own), (given.teacher, theirs)))
    terms = method.losses(heads(method), dataclasses.replace(given, student=student, teacher=teacher))
    torch.stack(list(terms.values())).sum().backward()
    assert all(tap.grad is None for tap in theirs)
    assert all(tap.grad is not None for tap in own)


@pytest.mark.parametrize("case", ZERO)
def test_terms_are_zero_where_student_and_teacher_are_equal(case: str) -> None:
    method, formulas = CASES[case]
    given = inputs(method, WIDE, WIDE, alike=True)
    found = method.losses(heads(method, WIDE, WIDE), given)
    for name in formulas:
        assert found[name].item() == pytest.approx(0, abs=1e-14), name
    if "logits" in found:
        assert found["logits"] == 0


@pytest.mark.parametrize("method", [FitNet(), FitNet(form="channel_mean"), SRKD()])
def test_terms_in_the_teachers_units_are_zero_where_one_network_is_both(method: FeatureMethod) -> None:
    network = networks()[1]
    made = method.heads(network, (network,), 0)
    assert made is not None
    found = method.losses(made.double(), inputs(method, WIDE, WIDE, alike=True))
    assert sorted(value.item() for value in found.values())[:-1] == [pytest.approx(0, abs=1e-14)]
    assert found["pixel"] > 0.1


@pytest.mark.parametrize("method", [FitNet(), VID(), VID(pdf="laplace"), SRKD()])
def test_relative_terms_do_not_depend_on_the_units_of_the_teacher(method: FeatureMethod) -> None:
    """A teacher whose features are a thousand times as large, and measured so, teaches the same."""
    given = inputs(method)
    assert given.teacher is not None
    large = dataclasses.replace(given.teacher, features=tuple(1000 * tap for tap in given.teacher.features))
    values = []
    for teacher, factor in ((given.teacher, 1.0), (large, 1000.0)):
        made = heads(method)
        assert made is not None
        for name, buffer in made.named_buffers():
            if name.endswith("size"):
                buffer *= factor
        same_units = given
        if isinstance(method, SRKD):  # without a projector the student speaks the teacher's units
            own = tuple(factor * tap for tap in given.student.features)
            same_units = dataclasses.replace(given, student=dataclasses.replace(given.student, features=own))
            for name, buffer in made.named_buffers():
                if name.endswith("own"):
                    buffer *= factor
        terms = method.losses(made, dataclasses.replace(same_units, teacher=teacher))
        values.append({name: value.item() for name, value in terms.items() if name != "pixel"})
    assert values[0] == pytest.approx(values[1], rel=1e-9)
