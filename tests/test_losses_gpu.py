"""FSM's kernel for GPUs, run by Triton's interpreter on the CPU, against the definition; it needs no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from definition import gradient, naive

from hkdsr.losses import compiled, fsm, signed_mean
from hkdsr.losses.signed_mean import signed_mean as plain_signed_mean

triton = pytest.importorskip("triton", reason="PyTorch has no Triton here")


CHECKED = """
import itertools, sys
sys.path.insert(0, "tests")
import torch
from definition import gradient, naive
from hkdsr.losses import compiled, fsm, kernels_gpu, signed_mean

torch.manual_seed(0)
for dtype, (batch, vectors, positions) in itertools.product(
    (torch.float32, torch.float64), ((1, 1, 1), (2, 63, 65), (2, 64, 64), (1, 130, 7))
):
    d, g = torch.randn(batch, 3, vectors, dtype=dtype), torch.randn(batch, 3, positions, dtype=dtype)
    d, g = (d * 2).round(), (g * 2).round()  # many products are zero
    signs = (d.mT @ g).sign()
    assert (signs == 0).any() or vectors == 1
    torch.testing.assert_close(kernels_gpu.signed_means(d, g), g @ signs.mT / positions, rtol=1e-6, atol=1e-6)
    assert not kernels_gpu.signed_means(torch.zeros_like(d), g).any()

# As on a GPU: no loops of the CPU, and this kernel.
compiled._module = lambda: None
signed_mean.gpu_kernels = lambda like: kernels_gpu
for size in ((2, 3, 9, 13), (1, 3, 16, 12)):
    s, t, hr = torch.rand(3, *size, dtype=torch.float64)
    torch.testing.assert_close(
        gradient(lambda s: fsm(s, t, hr), s), gradient(lambda s: naive(s, t, hr), s), rtol=1e-10, atol=1e-14
    )
    value, slope = gradient(lambda s: fsm(s, t, hr), t)
    assert value == 0 and not slope.any()
    t[0, 0, 0, 0] = float("nan")
    assert fsm(s, t, hr).isnan()
print("all equal")
"""


def test_the_kernel_gives_the_definition_and_its_gradient() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CHECKED], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split("\n")[-2:] == ["all equal", ""], done.stderr[-2000:]


@pytest.mark.parametrize("kind", ["fp32", "fp64"])
def test_it_compiles_for_a_gpu_that_is_not_here(kind: str) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from hkdsr.losses import kernels_gpu

    tensors = dict.fromkeys(("vectors", "hr", "result"), f"*{kind}")
    sizes = {"VECTORS": kernels_gpu.VECTORS, "POSITIONS": kernels_gpu.POSITIONS}
    types = {**tensors, "count": "i32", "positions": "i32", **dict.fromkeys(sizes, "constexpr")}
    source = ASTSource(kernels_gpu._signed_means, signature=types, constexprs=sizes)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert made.asm["cubin"]
    assert ".local" not in made.asm["ptx"]  # all values stay in registers


def test_gpus_take_it_and_cpus_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)
    monkeypatch.setattr(compiled, "_gpu_module", lambda: signed_mean)
    assert compiled.gpu_kernels(on_gpu) is signed_mean
    assert compiled.gpu_kernels(torch.zeros(1)) is None


def test_without_triton_tensor_operations_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_module", lambda: None)
    s, t, hr = torch.rand(3, 2, 3, 9, 13, dtype=torch.float64)
    torch.testing.assert_close(gradient(lambda s: fsm(s, t, hr), s), gradient(lambda s: naive(s, t, hr), s))
    assert plain_signed_mean(s.flatten(2), hr.flatten(2)).shape == s.flatten(2).shape
