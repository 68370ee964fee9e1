"""Terms on every n-th crop of a batch: the mean over all ways to take them is the term of the whole batch."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from hkdsr.data.crops import Batch
from hkdsr.errors import HkdsrError
from hkdsr.methods import FAKD, HKDSR, HKDSRPlus, Method, compose
from hkdsr.methods.base import Strides
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, NetworkWithExits
from hkdsr.nets.files.load import build
from hkdsr.training.distiller import Distiller
from hkdsr.training.teacher import Teacher

COUNT, SIDE = 6, 9
FAKD_WHOLE = FAKD(channel_weight=0.1)
HKDSR_WHOLE = HKDSR(exits_every=1).resolved(2)
# Without the balance, whose running means differ from step to step.
PLUS_WHOLE = HKDSRPlus(
    0.5, 0.5, 0.0, 1.0, 0.5, balance=False, affinity_every=1, affinity_samples=None, exits_every=1, fsm_samples=None
)
PARTS: dict[str, tuple[Method, Method]] = {
    "fakd": (FAKD_WHOLE, dataclasses.replace(FAKD_WHOLE, affinity_every=3)),
    "hkdsr": (HKDSR_WHOLE, dataclasses.replace(HKDSR_WHOLE, exits_every=2)),
    "hkdsr+": (PLUS_WHOLE, dataclasses.replace(PLUS_WHOLE, exits_every=2, affinity_every=3)),
    "a sum": (
        compose(FAKD_WHOLE, HKDSR_WHOLE),
        compose(dataclasses.replace(FAKD_WHOLE, affinity_every=6), dataclasses.replace(HKDSR_WHOLE, exits_every=3)),
    ),
    "a sum of equals": (
        compose(FAKD_WHOLE, PLUS_WHOLE),
        compose(dataclasses.replace(FAKD_WHOLE, affinity_every=2), dataclasses.replace(PLUS_WHOLE, affinity_every=6)),
    ),
}


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # whoever asks for float32 gets float64


def networks() -> tuple[Network, Exits, NetworkWithExits]:
    """Student, its exits, and the teacher, in double precision."""
    student, network = build("compact:features=4,convs=5", 2).double(), build("edsr:features=6,blocks=5", 2).double()
    exits = (Exits(each, (0.4, 0.7), start="plain").double() for each in (student, network))
    return student, next(exits), NetworkWithExits(network, next(exits)).eval().requires_grad_(False)


def batch(images: bool) -> Batch:
    """Random crops; with the teacher's ``images``, as from the cache, or without."""
    lr, hr, *others = (torch.rand(COUNT, 3, side, side).double() for side in (SIDE, *[2 * SIDE] * 4))
    return Batch(lr, hr, others if images else [])


def rolled(given: Batch, by: int) -> Batch:
    return Batch(given.lr.roll(by, 0), given.hr.roll(by, 0), [image.roll(by, 0) for image in given.teacher])


def outcome(module: Distiller, teacher: Teacher, given: Batch) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The terms, and the gradients of their sum."""
    terms = module(given.lr, given.hr, teacher.outputs(given))
    weights = list(module.parameters())
    grads = torch.autograd.grad(torch.stack(list(terms.values())).sum(), weights, materialize_grads=True)
    return {name: value.detach() for name, value in terms.items()}, list(grads)


@pytest.mark.parametrize("images", [True, False], ids=["images from the disk", "live"])
@pytest.mark.parametrize("name", PARTS)
def test_the_mean_over_all_parts_is_the_whole(name: str, images: bool) -> None:
    student, exits, with_exits = networks()
    whole, part = PARTS[name]
    given = batch(images)
    own = exits if whole.uses_exits else None
    if not whole.uses_exits:
        given = dataclasses.replace(given, teacher=given.teacher[-1:])
        with_exits = NetworkWithExits(with_exits.network, Exits(with_exits.network, ()))
    found = []
    for method in (whole, part):
        torch.manual_seed(1)  # both have the same heads
        module = Distiller(student, own, method, (with_exits.network,)).double()
        stored = object() if images else None
        teacher = Teacher(with_exits, method.feature_depths, stored, False, method.strides)  # pyright: ignore
        found.append([outcome(module, teacher, rolled(given, by)) for by in range(COUNT)])
    of_whole, of_parts = found
    for term, value in of_whole[0][0].items():
        mean = torch.stack([terms[term] for terms, _ in of_parts]).mean()
        torch.testing.assert_close(mean, value, rtol=1e-9, atol=1e-12, msg=lambda text, term=term: f"{term}: {text}")
    for index, grad in enumerate(of_whole[0][1]):
        mean = torch.stack([grads[index] for _, grads in of_parts]).mean(0)
        torch.testing.assert_close(mean, grad, rtol=1e-9, atol=1e-12)
    # The parts do differ, or the mean would say nothing.
    assert max(float(terms[name]) for terms, _ in of_parts for name in terms if name != "pixel") > 0
    totals = {round(float(torch.stack(list(terms.values())).sum()), 9) for terms, _ in of_parts}
    assert len(totals) > 1


@pytest.mark.parametrize("images", [True, False])
def test_heads_and_teacher_run_on_the_part_alone(images: bool) -> None:
    student, exits, with_exits = networks()
    method = HKDSRPlus(affinity_every=3, exits_every=2)
    seen: dict[str, list[int]] = {"teacher": [], "teacher's head": [], "student": [], "student's head": []}
    for label, module in (
        ("teacher", with_exits.network),
        ("teacher's head", with_exits.exits.heads[0]),
        ("student", student.blocks[0]),
        ("student's head", exits.heads[0]),
    ):
        module.register_forward_hook(lambda _, given, __, label=label: seen[label].append(len(given[0])))
    with_exits.network.blocks[0].register_forward_hook(lambda _, given, __: seen["teacher"].append(len(given[0])))
    distiller = Distiller(student, exits, method.resolved(2), (with_exits.network,)).double()
    stored = object() if images else None
    teacher = Teacher(with_exits, method.feature_depths, stored, False, method.strides)  # pyright: ignore
    given = batch(images)
    distiller(given.lr, given.hr, teacher.outputs(given))
    assert seen["teacher"] == ([COUNT // 3] if images else [COUNT])
    assert seen["teacher's head"] == ([] if images else [COUNT // 2])
    assert (seen["student"], seen["student's head"]) == ([COUNT], [COUNT // 2])


def test_a_sum_reaches_the_images_of_all_its_parts() -> None:
    def strides(*methods: Method) -> Strides:
        return compose(*methods).strides

    assert strides(FAKD(affinity_every=6), HKDSRPlus(affinity_every=4, exits_every=3)) == (3, 2)
    assert strides(FAKD(affinity_every=6), HKDSR(exits_every=2)) == (2, 6)
    assert strides(FAKD(), HKDSRPlus(affinity_every=4)).features == 1


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (FAKD, "affinity_every"),
        (FAKD, "affinity_samples"),
        (HKDSR, "exits_every"),
        (HKDSRPlus, "affinity_every"),
        (HKDSRPlus, "exits_every"),
        (HKDSRPlus, "affinity_samples"),
        (HKDSRPlus, "fsm_samples"),
    ],
)
def test_none_of_a_batch_is_refused(kind: type[Method], setting: str) -> None:
    with pytest.raises(HkdsrError, match=rf"^method.{setting} is 0: set it to 1 or more$"):
        kind(**{setting: 0})
