"""The compiled loops and the tensor forms are the same mathematics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hkdsr.losses import Fusion, compiled, fsm, fsm_sum
from hkdsr.losses.signed_mean import signed_mean

pytest.importorskip("numba", reason="Numba has no release for this Python, so there are no compiled loops")

REAL = st.sampled_from([torch.float32, torch.float64])


def by_pairs(vectors: Tensor, truth: Tensor) -> Tensor:
    return (vectors.mT @ truth).sign() @ truth.mT / truth.shape[-1]


@settings(max_examples=40)
@given(REAL, st.integers(1, 3), st.integers(1, 150), st.integers(1, 90), st.integers(0, 99))
@example(torch.float32, 2, 117, 2, 9)  # a vector across the axis, whose ratio consists of rounding errors
def test_signed_mean_is_the_mean_over_all_pairs(dtype: torch.dtype, batch: int, p: int, q: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    # Whole numbers make ties: products that are exactly zero have no sign and must add nothing.
    vectors = torch.randint(-2, 3, (batch, 3, p), generator=random).to(dtype)
    truth = torch.randint(-2, 3, (batch, 3, q), generator=random).to(dtype)
    assert compiled.kernels(vectors) is not None
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(signed_mean(vectors, truth), by_pairs(vectors, truth).mT, atol=tolerance, rtol=tolerance)


def test_signed_mean_of_nearly_grey_bands_settles_signs_rightly() -> None:
    random = torch.Generator().manual_seed(0)
    grey = torch.randn(2, 1, 700, generator=random, dtype=torch.float64)
    truth = grey + 0.1 * torch.randn(2, 3, 700, generator=random, dtype=torch.float64)
    vectors = grey.flip(2) + 0.3 * torch.randn(2, 3, 700, generator=random, dtype=torch.float64)
    torch.testing.assert_close(signed_mean(vectors, truth), by_pairs(vectors, truth).mT, atol=1e-13, rtol=1e-10)


@settings(max_examples=25)
@given(REAL, st.integers(1, 3), st.integers(1, 23), st.integers(1, 30), st.integers(1, 3), st.integers(1, 3))
def test_fsm_in_one_pass_equals_its_tensor_form(
    dtype: torch.dtype, batch: int, height: int, width: int, levels: int, exits: int
) -> None:
    """Of odd and of tiny sides too; in float64 the gradients as well."""
    torch.manual_seed(height * width)
    hr, *images = (torch.rand(batch, 3, height, width, dtype=dtype) for _ in range(1 + 2 * exits))
    students, teachers, weights = images[:exits], images[exits:], [0.2, 0.8, 0.5][:exits]
    found = fsm_and_gradients(students, teachers, hr, weights, levels)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(compiled, "_module", lambda: None)
        expected = fsm_and_gradients(students, teachers, hr, weights, levels)
    if dtype == torch.float32:
        # A product near zero may have another sign, which shows in the gradient of small images but not in the value.
        found, expected = found[:1], expected[:1]
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=20 * tolerance)


def test_the_gradient_of_fsm_in_one_pass_is_the_slope() -> None:
    torch.manual_seed(0)
    s, t, other, hr = (torch.rand(1, 3, 7, 5, dtype=torch.float64) for _ in range(4))
    assert torch.autograd.gradcheck(lambda x: fsm_sum([x, x * x], [t, other], hr, [0.3, 0.7]), s.requires_grad_())


def fsm_and_gradients(
    students: list[Tensor], teachers: list[Tensor], hr: Tensor, weights: list[float], levels: int
) -> list[Tensor]:
    students = [image.clone().requires_grad_() for image in students]
    value = 3 * fsm_sum(students, teachers, hr, weights, levels)
    return [value.detach(), *torch.autograd.grad(value, students)]


def test_black_and_grey_images_have_no_nan() -> None:
    black, grey = torch.zeros(1, 3, 12, 12), torch.rand(1, 1, 12, 12).expand(1, 3, 12, 12)
    for s, t, hr in ((black, black, black), (grey, black, grey), (grey, grey, black)):
        value, gradient = fsm_and_gradients([s], [t], hr, [1.0], 2)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert (value == 0) == bool((s == t).all() or (hr == 0).all())


def test_nan_in_the_image_gives_nan() -> None:
    s, t, hr = (torch.rand(1, 3, 8, 8) for _ in range(3))
    s[0, 0, 0, 0] = float("nan")
    assert fsm(s, t, hr).isnan()
    assert Fusion()(s, t, hr).isnan()


@settings(max_examples=15)
@given(REAL, st.integers(1, 3), st.integers(1, 30), st.integers(1, 40), st.integers(1, 9))
def test_acf_equals_its_tensor_form(dtype: torch.dtype, batch: int, height: int, width: int, hidden: int) -> None:
    torch.manual_seed(0)
    term = Fusion(hidden=hidden).to(dtype)
    images = [torch.rand(batch, 3, height, width, dtype=dtype) for _ in range(3)]
    found, expected = (differentiated(term, images, form) for form in (term, term.in_tensors))
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def differentiated(term: Fusion, images: list[Tensor], form: Callable[..., Tensor]) -> list[Tensor]:
    student = images[0].clone().requires_grad_()
    value = 3 * form(student, *images[1:])
    return [value.detach(), *torch.autograd.grad(value, [student, *term.parameters()])]


LOSSES = """
import sys
sys.modules["numba"] = None  # as where it is not installed
import torch
from hkdsr.losses import Fusion, compiled, fsm
torch.manual_seed(0)
images = [torch.rand(2, 3, 12, 10, dtype=torch.float64) for _ in range(3)]
term = Fusion().double()
print(compiled.kernels(images[0]) is None, fsm(*images).item(), term(*images).item())
"""


def test_without_numba_the_losses_are_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", LOSSES], capture_output=True, text=True, check=True)
    in_tensors, *elsewhere = done.stdout.split()
    torch.manual_seed(0)
    s, t, hr = (torch.rand(2, 3, 12, 10, dtype=torch.float64) for _ in range(3))
    term = Fusion().double()
    assert in_tensors == "True"
    assert compiled.kernels(s) is not None
    assert [fsm(s, t, hr).item(), term(s, t, hr).item()] == pytest.approx(
        [float(value) for value in elsewhere], rel=1e-12
    )


def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    s, t, hr = images = [torch.rand(5, 3, 16, 16) for _ in range(3)]
    term, before, found = Fusion(), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([fsm(s, t, hr), *differentiated(term, images, term)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions_use_tensors(dtype: torch.dtype) -> None:
    assert compiled.kernels(torch.zeros(1, dtype=dtype)) is None
