"""Terms of unlike sizes end up as large as the reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hkdsr.methods.balance import DECAY, Balance

SIZE = st.floats(1e-6, 1e3)


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


@given(SIZE, SIZE, SIZE)
def test_at_first_every_term_is_as_large_as_the_reference(reference: float, one: float, other: float) -> None:
    balanced = Balance(["one", "other"]).double()(torch.tensor(reference).double(), scalars(one=one, other=other))
    assert [value.item() for value in balanced.values()] == pytest.approx([reference, reference])


def test_means_are_plain_at_first_and_then_forget() -> None:
    balance = Balance(["term"]).double()
    references, terms = torch.rand(2, 300, dtype=torch.float64) + 0.1
    expected = torch.zeros(2, dtype=torch.float64)
    for index, (reference, term) in enumerate(zip(references, terms, strict=True)):
        found = balance(reference, {"term": term})["term"]
        share = max(1 - DECAY, 1 / (index + 1))
        expected = (1 - share) * expected + share * torch.stack([reference, term])
        assert found.item() == pytest.approx((expected[0] / expected[1] * term).item(), rel=1e-12)
        if index == 49:
            torch.testing.assert_close(balance.means, torch.stack([references[:50].mean(), terms[:50].mean()]))


def test_factors_are_constants_for_the_gradient() -> None:
    reference, term = (torch.tensor(value, requires_grad=True) for value in (3.0, 0.5))
    balanced = Balance(["term"])(reference, {"term": term})["term"]
    grad_reference, grad_term = torch.autograd.grad(balanced, (reference, term), allow_unused=True)
    assert grad_reference is None
    assert grad_term.item() == pytest.approx(6.0)


def test_what_is_zero_stays_zero() -> None:
    balance = Balance(["term"])
    for _ in range(3):
        assert balance(torch.tensor(1.0), {"term": torch.tensor(0.0)})["term"] == 0


def test_a_resumed_run_goes_on_with_the_means() -> None:
    first, second = Balance(["term"]), Balance(["term"])
    for size in (1.0, 2.0, 7.0):
        first(torch.tensor(size), {"term": torch.tensor(0.1)})
    second.load_state_dict(first.state_dict())
    one, other = (b(torch.tensor(1.0), {"term": torch.tensor(2.0)})["term"] for b in (first, second))
    assert one == other
