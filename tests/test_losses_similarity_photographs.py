"""FSM on photographs: exact, in small memory, in any precision, and unbiased when sampled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from definition import gradient, naive, photographs
from vectors import images

from hkdsr.losses import fsm, signed_mean


@pytest.mark.parametrize(("rows", "entries"), [(1, 1), (5, 1 << 19), (384, 1 << 9), (64, 1 << 12)])
def test_blocks_do_not_show(rows: int, entries: int, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, hr = photographs(shared, 24)
    expected = gradient(lambda s: naive(s, teacher, hr), student)
    monkeypatch.setattr(signed_mean, "BLOCK_ROWS", rows)
    monkeypatch.setattr(signed_mean, "BLOCK_ENTRIES", entries)
    for actual, wanted in zip(gradient(lambda s: fsm(s, teacher, hr), student), expected, strict=True):
        assert torch.allclose(actual, wanted, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("side", [48, 95])
def test_equals_the_definition_on_photographs(side: int, cosine: bool, shared: Path) -> None:
    student, teacher, hr = photographs(shared, 96)
    student, teacher, hr = (x[..., :side, :side] for x in (student, teacher, hr))
    value, grad = gradient(lambda s: fsm(s, teacher, hr, norm="cosine" if cosine else "none"), student)
    expected, expected_grad = gradient(lambda s: naive(s, teacher, hr, cosine=cosine), student)
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    assert (grad - expected_grad).abs().sum() <= 1e-6 * expected_grad.abs().sum()


def test_single_precision_is_near_double_precision(shared: Path) -> None:
    for exact in (images(), photographs(shared, 96)):
        student, teacher, hr = exact
        value, grad = gradient(lambda s, t=teacher, g=hr: fsm(s, t, g), student)
        student, teacher, hr = (x.float() for x in exact)
        value32, grad32 = gradient(lambda s, t=teacher, g=hr: fsm(s, t, g), student)
        assert value32.dtype == grad32.dtype == torch.float32
        assert value32.item() == pytest.approx(value.item(), rel=1e-5)
        assert (grad32 - grad).abs().sum() <= 1e-3 * grad.abs().sum()


def test_sampling_is_unbiased(shared: Path) -> None:
    student, teacher, hr = photographs(shared, 32, "butterfly")
    exact, exact_grad = gradient(lambda s: fsm(s, teacher, hr), student)
    draws = [gradient(lambda s: fsm(s, teacher, hr, samples=16), student) for _ in range(600)]
    values = torch.stack([value for value, _ in draws])
    error = values.std() / len(values) ** 0.5
    assert 0 < error < 0.02 * exact
    assert abs(values.mean() - exact) < 3 * error
    mean_grad = torch.stack([grad for _, grad in draws]).mean(0)
    assert (mean_grad - exact_grad).abs().sum() < 0.1 * exact_grad.abs().sum()


def test_sampling_everything_is_exact() -> None:
    exact = fsm(*images()).item()
    # Of 8 x 8 pixels, level 1 has 16 positions and level 2 has 4.
    assert [fsm(*images(), samples=count).item() == exact for count in (4, 15, 16, 99)] == [False, False, True, True]


@pytest.mark.parametrize("mode", ["gt_similarity", "direct"])
def test_autocast_leaves_it_exact(mode: Any, shared: Path) -> None:
    student, teacher, hr = (x.float() for x in photographs(shared, 32))
    results = []
    for autocast in (False, True):
        student = student.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = fsm(student, teacher, hr, mode=mode)
        results.append((value, *torch.autograd.grad(value, student)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# Run in a process of its own, whose memory only grows by what FSM takes.
AT_FULL_SIZE = """
import resource, sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hkdsr.data import imresize
from hkdsr.losses import fsm, haar

torch.set_num_threads(1)
paths = sorted(Path(sys.argv[1]).glob("*.webp"))[:16]
crops = [np.asarray(Image.open(path).convert("RGB"))[:192, :192].copy() for path in paths]
hr = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
student, teacher = (imresize(imresize(hr, 1 / scale), scale) for scale in (4, 2))
student.requires_grad_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loss = fsm(student, teacher, hr)
loss.backward()
extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
with torch.no_grad():
    exact = 0.0
    for s, t, g in list(zip(*(haar(x, 2) for x in (student, teacher, hr)), strict=True))[1:]:
        for one_s, one_t, one_g in zip(s.flatten(2), t.flatten(2), g.flatten(2), strict=True):
            count = one_g.shape[1]
            total = sum(
                float((one_s[:, p : p + 64].T @ one_g).sub_(one_t[:, p : p + 64].T @ one_g).abs_().sum())
                for p in range(0, count, 64)
            )
            exact += total / count**2 / len(s)
print(len(paths), extra / 1024, loss.item(), exact, float(student.grad.abs().sum()))
"""


def test_memory_and_value_at_full_size(shared: Path) -> None:
    """Patch 192, batch 16: S and T alone would each have 16 GB of matrices at level 1."""
    command = [sys.executable, "-c", AT_FULL_SIZE, str(shared / "val" / "DIV2K_valid_crop256")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    count, megabytes, value, exact, pull = map(float, done.stdout.split())
    assert count == 16
    assert megabytes < 600
    assert value == pytest.approx(exact, rel=1e-5)
    assert pull > 0
