"""Sums of methods: every term is counted once, and every part gets only what it declares."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny
import torch
from torch import Tensor, nn

from hkdsr.cli.recipes import parse_recipe, with_method
from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, Logits, Method, Plain, compose, method_class
from hkdsr.methods.composed import composed_class
from hkdsr.methods.inputs import LossInputs
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs
from hkdsr.nets.families.compact import Compact
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import flat_settings
from hkdsr.settings.toml import read_recipe
from hkdsr.training.distiller import Distiller
from hkdsr.training.log import read_log
from hkdsr.training.run import distill

SEEN: dict[type[Method], list[Any]] = {}


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


@dataclass(frozen=True)
class Fake(Method):
    """Compares features after a 1x1 convolution; keeps its arguments in ``SEEN``."""

    weight: float = 1.0
    depths: tuple[float, ...] = (0.5,)
    others: tuple[str, ...] = ()

    @property
    def feature_depths(self) -> tuple[float, ...]:
        return self.depths

    @property
    def more_teachers(self) -> tuple[str, ...]:
        return self.others

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.Module | None:
        SEEN.setdefault(type(self), []).append(("heads", teachers, exits))
        return nn.Conv2d(student.channels, teachers[0].channels, 1)

    def before_step(self, heads: nn.Module | None, student: Network, step: int) -> None:
        SEEN.setdefault(type(self), []).append(("step", heads, step))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        SEEN.setdefault(type(self), []).append(inputs)
        assert heads is not None
        assert inputs.teacher is not None
        pairs = zip(inputs.student.features, inputs.teacher.features, strict=True)
        return {"feature": self.weight * torch.stack([(heads(s) - t).abs().mean() for s, t in pairs]).sum()}


@dataclass(frozen=True)
class Another(Fake):
    """Another of the kind, which runs networks."""

    uses_networks: ClassVar[bool] = True


@dataclass(frozen=True)
class Alone(Fake):
    """One without a teacher, features and heads."""

    depths: tuple[float, ...] = ()
    uses_teacher: ClassVar[bool] = False

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> None:
        SEEN.setdefault(type(self), []).append(("heads", teachers, exits))

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        SEEN.setdefault(type(self), []).append(inputs)
        return {"pixel": 7 * (inputs.student.final - inputs.hr).abs().mean(), "feature": inputs.hr.new_ones(())}


def image() -> Tensor:
    return torch.rand(2, 3, 16, 16)


def make_inputs(exits: int = 2, features: tuple[int, ...] = ()) -> LossInputs:
    """Random outputs, with a map of features for each number of channels in ``features``."""

    def outputs() -> Outputs:
        return Outputs(
            image().requires_grad_(),
            tuple(image() for _ in range(exits)),
            tuple(torch.rand(2, channels, 8, 8, requires_grad=True) for channels in features),
        )

    return LossInputs(torch.rand(2, 3, 8, 8), image(), outputs(), outputs())


def test_terms_are_summed_and_the_common_ones_counted_once() -> None:
    hkdsr, logits = HKDSR().resolved(2), Logits(pixel_weight=5.0, teacher_weight=2.0)
    method, inputs, student = compose(hkdsr, logits), make_inputs(), Compact(2, 4, 2)
    heads = method.heads(student, (student,), 2)
    assert heads is not None
    terms = method.losses(heads, inputs)
    assert list(terms) == ["pixel", "fsm", "acf", "logits"]
    expected = hkdsr.losses(dict(heads.named_children())["hkdsr"], inputs)
    expected["logits"] = logits.losses(None, inputs)["logits"]
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name])
    # The first part's weight holds.
    (first, second) = (
        compose(*order).losses(None, inputs)["pixel"] for order in ((Plain(), logits), (logits, Plain()))
    )
    torch.testing.assert_close(second, 5 * first)


def test_other_equal_names_get_a_prefix() -> None:
    method = compose(Fake(), Another(weight=3.0), Alone())
    inputs = make_inputs(features=(4, 4))
    terms = method.losses(method.heads(Compact(2, 4, 2), (Compact(2, 5, 2),), 0), with_teacher_width(inputs, 5))
    assert list(terms) == ["feature", "Another_feature", "pixel", "Alone_feature"]
    assert float(terms["Alone_feature"]) == 1


def with_teacher_width(inputs: LossInputs, channels: int) -> LossInputs:
    assert inputs.teacher is not None
    features = tuple(torch.rand(2, channels, 8, 8) for _ in inputs.teacher.features)
    return dataclasses.replace(inputs, teacher=dataclasses.replace(inputs.teacher, features=features))


def test_every_part_gets_what_it_declares() -> None:
    fake = Fake(depths=(0.25, 0.5), others=("b", "c"))
    another, alone = Another(depths=(1.0,), others=("c", "a")), Alone(others=("x",))
    method = compose(HKDSR().resolved(2), fake, alone, another)
    assert method.feature_depths == (0.25, 0.5, 1.0)
    assert method.more_teachers == ("b", "c", "x", "a")
    assert (method.uses_teacher, method.uses_networks, method.uses_exits) == (True, True, True)
    student, main = Compact(2, 4, 4), Compact(2, 4, 4)
    b, c, x, a = (Compact(2, 4, 4) for _ in range(4))
    heads = method.heads(student, (main, b, c, x, a), 2)
    assert heads is not None
    assert [name for name, _ in heads.named_children()] == ["hkdsr", "Fake", "Another"]
    assert SEEN[Fake] == [("heads", (main, b, c), 0)]
    assert SEEN[Another] == [("heads", (main, c, a), 0)]
    assert SEEN[Alone] == [("heads", (), 0)]

    method.before_step(heads, student, 3)
    children = dict(heads.named_children())
    assert SEEN[Fake][1:] == [("step", children["Fake"], 3)]
    assert SEEN[Another][1:] == [("step", children["Another"], 3)]
    assert SEEN[Alone][1:] == [("step", None, 3)]

    inputs = dataclasses.replace(make_inputs(features=(4, 4, 4)), teacher_networks=(main, b, c, x, a))
    assert inputs.teacher is not None
    method.losses(heads, inputs)
    for part, taps, networks in ((fake, slice(0, 2), (main, b, c)), (another, slice(2, 3), (main, c, a))):
        given = SEEN[type(part)][-1]
        assert given.student == Outputs(inputs.student.final, (), inputs.student.features[taps])
        assert given.teacher == Outputs(inputs.teacher.final, (), inputs.teacher.features[taps])
        assert given.teacher_networks == networks
        assert (given.lr is inputs.lr, given.hr is inputs.hr) == (True, True)
    given = SEEN[Alone][-1]
    assert given.student == Outputs(inputs.student.final)
    assert (given.teacher, given.teacher_networks) == (None, ())


def test_parts_that_need_nothing_declare_nothing() -> None:
    method = compose(Plain(), Alone())
    assert (method.uses_teacher, method.uses_networks, method.uses_exits) == (False, False, False)
    assert (method.feature_depths, method.more_teachers) == ((), ())
    assert method.heads(Compact(2, 4, 2), (), 0) is None
    assert compose(Plain(exit_weight=0.5), Logits()).uses_exits


def test_gradient_reaches_student_and_every_head() -> None:
    torch.manual_seed(1)
    student, teacher = Compact(2, 4, 4), Compact(2, 6, 4)
    method = compose(HKDSR(kd_on_intermediate=False).resolved(2), Fake(), Another(depths=(0.25, 1.0)))
    distiller = Distiller(student, None, method, (teacher,))
    lr = torch.rand(1, 3, 8, 8)
    final, taps = torch.rand(1, 3, 16, 16), tuple(torch.rand(1, 6, 8, 8) for _ in range(3))
    terms = distiller(lr, torch.rand(1, 3, 16, 16), Outputs(final, (), taps))
    assert list(terms) == ["pixel", "fsm", "acf", "feature", "Another_feature"]
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in distiller.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert any(name.startswith("heads.Another") for name, _ in distiller.named_parameters())


def test_defaults_of_the_scale_reach_every_part() -> None:
    method = compose(Logits(), HKDSR(ada_w=0.1)).resolved(4)
    assert method == compose(Logits(), HKDSR(ada_w=0.1, ada_wt=1.0, kd_on_intermediate=True))


def test_the_same_methods_are_of_one_class() -> None:
    method = compose(HKDSR(), Logits())
    assert type(method) is method_class("hkdsr,logits")
    assert type(compose(HKDSR(sim_w=1.0), Logits())) is type(method)
    assert type(compose(Logits(), HKDSR())) is not type(method)
    assert compose(compose(HKDSR()), Logits()) == method
    assert hash(method) == hash(compose(HKDSR(), Logits()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.hkdsr = HKDSR()  # pyright: ignore[reportAttributeAccessIssue]


def test_names_that_are_not_identifiers() -> None:
    kind = composed_class((("hkdsr+", HKDSR), ("a-b", Logits)))
    assert list(kind().parts) == ["hkdsr_plus", "a_b"]


def test_none_and_twice_are_refused() -> None:
    with pytest.raises(HkdsrError, match=r"^method\.name is an empty list: name at least one method$"):
        compose()
    with pytest.raises(HkdsrError, match=r"^method\.name has 'logits' twice: name each method once$"):
        compose(Logits(), Plain(), Logits(teacher_weight=2.0))


def test_a_recipe_names_several(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    text = '[method]\nname = ["hkdsr", "logits"]\n[method.hkdsr]\nsim_w = 1\nfsm_levels = [1]\n[method.logits]\n'
    path.write_text(text + "teacher_weight = 3")
    method = read_recipe(path, DistillRecipe).method
    assert method == compose(HKDSR(sim_w=1.0, fsm_levels=(1,)), Logits(teacher_weight=3.0))
    path.write_text('[method]\nname = ["logits", "none"]')
    assert read_recipe(path, DistillRecipe).method == compose(Logits(), Plain())
    path.write_text('[method]\nname = ["logits"]')
    assert read_recipe(path, DistillRecipe).method == compose(Logits())


def test_flags_of_several() -> None:
    flags = ["--method.name", "hkdsr,logits", "--method.hkdsr.sim-w", "0.7", "--method.logits.teacher-weight=3"]
    assert parse_recipe(DistillRecipe, "distill", flags).method == compose(HKDSR(sim_w=0.7), Logits(teacher_weight=3.0))
    changed = DistillRecipe(method=compose(HKDSR(sim_w=3.0), Logits()))
    assert with_method(changed, ["--method.name=hkdsr,logits"])[0] == changed


def test_flat_settings_of_several() -> None:
    flat = flat_settings(DistillRecipe(method=compose(HKDSR(sim_w=3.0), Logits())))
    assert flat["method.name"] == '"hkdsr,logits"'
    assert flat["method.hkdsr.sim_w"] == "3.0"
    assert flat["method.logits.teacher_weight"] == "1.0"


def test_a_student_is_distilled_and_resumed(tmp_path: Path) -> None:
    method = compose(HKDSR(), Fake(), Logits())
    recipe = tiny.recipe(tmp_path, method, steps=4, save_every=2)
    whole = dataclasses.replace(recipe, out=tmp_path / "whole")
    distill(whole)
    (first, *_) = read_log(whole.out)
    assert list(first["losses"]) == ["pixel", "fsm", "acf", "feature", "logits"]

    with pytest.raises(tiny.Killed):
        distill(recipe, tiny.KilledAt(3))
    assert tiny.state(recipe.out)["step"] == 2
    with pytest.raises(HkdsrError, match=r"begun with other settings \(method\.Fake\.weight\)"):
        distill(dataclasses.replace(recipe, method=compose(HKDSR(), Fake(weight=2.0), Logits())))
    distill(recipe)
    state, cut = tiny.state(whole.out), tiny.state(recipe.out)
    assert any(name.startswith("heads.Fake.") for name in state["model"])
    for part in ("step", "fingerprint", "model", "average", "optimiser"):
        assert tiny.equal(state[part], cut[part]), part
