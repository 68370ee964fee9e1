"""Least squares of convolutions and linear maps, from sums that are gathered a few crops at a time.

A layer is linear in its patches phi (k * k values of every input channel): y = W [phi; 1]. All that the fit and the
choice of channels need is G = sum [phi; 1] [phi; 1]^T and H = sum [phi; 1] y^T over the positions, so that no
activation has to be kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hkdsr.nets.start.prune.wiring import Solvable

CHUNK = 16
"""Crops whose patches are held at the same time."""
ENOUGH = 100
"""Positions for each unknown of a layer, above which neighbouring positions are left out: they are nearly alike."""
LARGEST_STEP = 3
SMALLEST = 1e-12
"""Keeps a layer whose inputs are all zero solvable."""


def patches(module: Solvable, x: Tensor, step: int = 1, phase: int = 0) -> Tensor:
    """What ``module`` sees of its input, and a 1 for its bias: (positions, k * k * inputs + 1).

    Depth-wise it is (channels, positions, k * k + 1); a layer norm counts as a depth-wise map of its normalised input.

    Of the output positions only every ``step``-th in both directions is taken, from ``phase`` (y * step + x) on; for a
    linear map every ``step`` ** 2-th.
    """
    if isinstance(module, nn.Linear):
        rows = x.reshape(-1, x.shape[-1])[phase :: step**2]
        return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    if isinstance(module, nn.LayerNorm):
        normal = F.layer_norm(x, (x.shape[-1],), eps=module.eps).reshape(-1, x.shape[-1])[phase :: step**2].T
        return torch.stack([normal, torch.ones_like(normal)], dim=2)
    assert isinstance(module.padding, tuple)
    top, left = divmod(phase, step)
    vertical, horizontal = module.padding
    x = F.pad(x, (horizontal, horizontal, vertical, vertical)) if any(module.padding) else x
    stride = (step * module.stride[0], step * module.stride[1])
    columns = F.unfold(x[..., top * module.stride[0] :, left * module.stride[1] :], module.kernel_size, stride=stride)
    if module.groups > 1:
        own = columns.unflatten(1, (module.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)
        return torch.cat([own, own.new_ones(*own.shape[:2], 1)], dim=2)
    rows = columns.transpose(1, 2).flatten(0, 1)
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


def positions(module: Solvable, y: Tensor, step: int = 1, phase: int = 0) -> Tensor:
    """Outputs of ``module`` in the order of ``patches``: (positions, outputs)."""
    if isinstance(module, nn.Linear | nn.LayerNorm):
        return y.reshape(-1, y.shape[-1])[phase :: step**2]
    top, left = divmod(phase, step)
    return y[..., top::step, left::step].permute(0, 2, 3, 1).flatten(0, 2)


def unknowns(module: Solvable) -> int:
    """Weights of one output, its bias included."""
    return module.weight[0].numel() + 1


def output_count(module: Solvable, x: Tensor) -> int:
    """Positions at which ``module`` is applied to ``x``."""
    if isinstance(module, nn.Linear | nn.LayerNorm):
        return x.numel() // x.shape[-1]
    return len(x) * x.shape[-2] * x.shape[-1] // (module.stride[0] * module.stride[1])


def thinning(module: Solvable, x: Tensor, chunks_alike: int = 1) -> int:
    """The step between positions that leaves ``ENOUGH`` of those in ``chunks_alike`` inputs ``x`` for each unknown."""
    most = min(LARGEST_STEP, *x.shape[-2:]) if isinstance(module, nn.Conv2d) else LARGEST_STEP
    step = int((output_count(module, x) * chunks_alike / (ENOUGH * unknowns(module))) ** 0.5)
    return max(min(step, most), 1)


def gram(rows: Tensor, other: Tensor | None = None) -> Tensor:
    """The sum of [phi; 1] [phi; 1]^T, or of [phi; 1] y^T, in double precision."""
    return (rows.mT @ (rows if other is None else other)).double()


def chunks(count: int) -> Iterator[slice]:
    """Slices of ``CHUNK`` crops."""
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


@torch.no_grad()
def refit(module: Solvable, x: Tensor, y: Tensor, ridge: float, thin: bool = True) -> None:
    """Set weights and bias of ``module`` so that it maps ``x`` to ``y`` with the least squared error.

    ``ridge``, in units of the mean square of the patches, draws the weights towards those that the module has, which
    decide wherever the inputs do not.
    """
    step = thinning(module, x) if thin else 1
    G: Tensor | float = 0.0
    H: Tensor | float = 0.0
    for index, part in enumerate(chunks(len(x))):
        phase = index % step**2
        rows = patches(module, x[part], step, phase)
        wanted = positions(module, y[part], step, phase)
        if rows.ndim == 3:  # depth-wise: each channel has patches of its own
            wanted = wanted.T.unflatten(0, (len(rows), -1)).transpose(1, 2)
        G, H = G + gram(rows), H + gram(rows, wanted)
    assert isinstance(G, Tensor)
    assert isinstance(H, Tensor)
    solve(module, G, H, ridge)


def solve(module: Solvable, G: Tensor, H: Tensor, ridge: float) -> None:
    """The same from the sums (n, n) and (n, outputs); for a depth-wise ``module`` one of each for every channel."""
    batch = G.shape[:-2]
    before = module.weight.double().reshape(*batch, -1, G.shape[-1] - 1).mT
    inner = G.diagonal(dim1=-2, dim2=-1)[..., :-1]
    pull = torch.zeros_like(G[..., 0])
    pull[..., :-1] = ridge * inner.mean(-1, keepdim=True) + SMALLEST
    R = G + torch.diag_embed(pull)
    target = H + pull[..., None] * F.pad(before, (0, 0, 0, 1))
    if module.bias is None:
        R, target = R[..., :-1, :-1], target[..., :-1, :]
    found = torch.linalg.solve(R, target)
    if module.bias is not None:
        module.bias.copy_(found[..., -1, :].flatten())
        found = found[..., :-1, :]
    module.weight.copy_(found.mT.reshape(module.weight.shape))
