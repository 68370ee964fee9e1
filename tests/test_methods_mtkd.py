"""MTKD: its formula restated for several teachers, and which teachers run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hkdsr.errors import HkdsrError
from hkdsr.methods import HKDSR, compose
from hkdsr.methods.inputs import LossInputs
from hkdsr.methods.mtkd import MTKD, aggregated
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Outputs
from hkdsr.nets.files.load import build
from hkdsr.settings.choices import MtkdAggregate
from hkdsr.training.run import distill


def network(scale: int, width: int) -> Network:
    return build(f"compact:features={width},convs=2", scale).double().requires_grad_(False)


def make_inputs(scale: int = 2, side: int = 5, teachers: Sequence[Network] = ()) -> LossInputs:
    """The first teacher's image is random, as one that was cached; the others are to be run."""

    def image(factor: int) -> Tensor:
        return torch.rand(2, 3, factor * side, factor * side, dtype=torch.float64)

    student, teacher = image(scale).requires_grad_(), Outputs(image(scale))
    return LossInputs(image(1), image(scale), Outputs(student), teacher, None, teachers)


def haar_bands(image: np.ndarray) -> list[np.ndarray]:
    """One level, as sums over the four pixels of every square; odd sides continue with zeros."""
    height, width = (side + side % 2 for side in image.shape)
    padded = np.zeros((height, width))
    padded[: image.shape[0], : image.shape[1]] = image
    signs = [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
    squares = padded.reshape(height // 2, 2, width // 2, 2)
    return [np.einsum("ij,hiwj->hw", np.array(sign) / 2, squares) for sign in signs]


def plain_aggregate(images: np.ndarray, hr: np.ndarray, aggregate: MtkdAggregate) -> np.ndarray:
    """Images of the teachers (K, B, 3, H, W) and HR images (B, 3, H, W) -> one image per sample."""
    if aggregate == "mean":
        return images.sum(0) / len(images)
    found = np.empty_like(hr)
    for b, row, column in np.ndindex(len(hr), *hr.shape[2:]):
        distances = [np.abs(one[b, :, row, column] - hr[b, :, row, column]).sum() for one in images]
        found[b, :, row, column] = images[int(np.argmin(distances))][b, :, row, column]
    return found


def restatement(method: MTKD, inputs: LossInputs) -> dict[str, float]:
    assert inputs.teacher is not None
    with torch.no_grad():
        others = [teacher(inputs.lr).clamp(0, 1) for teacher in inputs.teacher_networks[1:]]
    images = torch.stack([inputs.teacher.final, *others]).numpy()
    student, hr = inputs.student.final.detach().numpy(), inputs.hr.numpy()
    aggregate = plain_aggregate(images, hr, method.aggregate)
    bands = np.zeros(4)
    for s, m in zip(student.reshape(-1, *student.shape[2:]), aggregate.reshape(-1, *student.shape[2:]), strict=True):
        bands += [np.abs(a - b).mean() for a, b in zip(haar_bands(s), haar_bands(m), strict=True)]
    return {
        "pixel": method.pixel_weight * float(np.abs(student - hr).mean()),
        "wavelet": method.wavelet_weight * float(bands.sum()) / (student.shape[0] * student.shape[1]),
    }


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("others", [0, 1, 2])
@pytest.mark.parametrize("aggregate", ["mean", "nearest"])
def test_terms_equal_a_plain_restatement(aggregate: MtkdAggregate, others: int, scale: int) -> None:
    method = MTKD(tuple(map(str, range(others))), aggregate, wavelet_weight=0.7)
    # Odd sides at x3. The first network must not be run: its image is in the inputs.
    inputs = make_inputs(scale, 5, [network(scale, 2 + index) for index in range(1 + others)])
    terms = method.losses(None, inputs)
    found = {name: value.item() for name, value in terms.items()}
    assert found == pytest.approx(restatement(method, inputs), rel=1e-12)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32))
def test_the_nearest_aggregate_is_at_least_as_near_as_every_teacher(count: int, side: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 2, 3, side, side, generator=random, dtype=torch.float64)
    hr = torch.rand(2, 3, side, side, generator=random, dtype=torch.float64)
    errors = (images - hr).abs().sum(2)
    torch.testing.assert_close((aggregated(images, hr, "nearest") - hr).abs().sum(1), errors.amin(0))


@pytest.mark.parametrize("aggregate", ["mean", "nearest"])
def test_bands_are_zero_where_the_student_is_the_only_teacher(aggregate: MtkdAggregate) -> None:
    inputs = make_inputs()
    inputs = dataclasses.replace(inputs, teacher=Outputs(inputs.student.final.detach().clone()))
    terms = MTKD(aggregate=aggregate).losses(None, inputs)
    assert terms["wavelet"] == 0
    assert terms["pixel"] > 0


@pytest.mark.parametrize("aggregate", ["mean", "nearest"])
def test_bands_are_zero_where_all_agree(aggregate: MtkdAggregate) -> None:
    inputs = make_inputs(2, 5, [network(2, 2), network(2, 3)])
    shown = Outputs(inputs.teacher_on(inputs.lr, 1))
    agreed = dataclasses.replace(inputs, student=shown, teacher=shown)
    assert MTKD(("second",), aggregate).losses(None, agreed)["wavelet"] == 0


@pytest.mark.parametrize("term", ["pixel", "wavelet"])
@pytest.mark.parametrize("aggregate", ["mean", "nearest"])
def test_the_gradient_reaches_the_student_alone(aggregate: MtkdAggregate, term: str) -> None:
    teachers = [network(2, 2).requires_grad_(), network(2, 3).requires_grad_()]
    inputs = make_inputs(2, 3, teachers)

    def value(image: Tensor) -> Tensor:
        asked = dataclasses.replace(inputs, student=Outputs(image))
        return MTKD(("second",), aggregate).losses(None, asked)[term]

    assert torch.autograd.gradcheck(value, inputs.student.final)
    value(inputs.student.final).backward()
    assert inputs.student.final.grad is not None
    assert inputs.student.final.grad.any()
    assert not any(parameter.grad is not None for teacher in teachers for parameter in teacher.parameters())


def test_in_a_sum_it_finds_its_own_teachers() -> None:
    first, second, third = network(2, 2), network(2, 3), network(2, 4)

    @dataclasses.dataclass(frozen=True)
    class Other(MTKD):
        """Another method with a teacher of its own."""

    method = compose(HKDSR(kd_on_intermediate=False).resolved(2), Other(("a",)), MTKD(("b",)))
    assert method.more_teachers == ("a", "b")
    heads = method.heads(first, (first, second, third), 0)
    assert heads is not None
    inputs = make_inputs(2, 5, [first, second, third])
    terms = method.losses(heads.double(), inputs)
    assert list(terms) == ["pixel", "fsm", "acf", "wavelet", "mtkd_wavelet"]
    torch.testing.assert_close(terms["pixel"], (inputs.student.final - inputs.hr).abs().mean())
    for term, teachers in (("wavelet", [first, second]), ("mtkd_wavelet", [first, third])):
        own = dataclasses.replace(inputs, teacher_networks=teachers)
        torch.testing.assert_close(terms[term], MTKD(("one",)).losses(None, own)["wavelet"])


def test_a_teacher_of_another_scale_is_refused(tmp_path: Path) -> None:
    other = tiny.teacher(tmp_path / "x3.safetensors", scale=3)
    with pytest.raises(HkdsrError, match=r"x3\.safetensors is a x3 network: choose one for x2$"):
        distill(tiny.recipe(tmp_path, MTKD((str(other),))))


def test_negative_weights_are_refused() -> None:
    with pytest.raises(HkdsrError, match=r"^method\.wavelet_weight is -1: set it to 0 or more$"):
        MTKD(wavelet_weight=-1)
