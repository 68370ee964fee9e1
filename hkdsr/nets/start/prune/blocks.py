"""Which blocks of a teacher a shallower student keeps: those whose output a linear map cannot predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hkdsr.nets.base import Network
from hkdsr.nets.start.prune.least_squares import chunks, gram

KERNEL = 3
STEP = 2
RIDGE = 1e-5


@torch.no_grad()
def choose_blocks(teacher: Network, lr: Tensor, count: int, tick: Callable[[], object]) -> list[int]:
    """Indices, ascending, of ``count`` blocks of ``teacher``; ``lr`` (B, 3, h, w) are crops, ``tick`` counts chunks.

    Blocks are dropped one at a time: the one whose output a 3x3 linear map predicts best from its input, together with
    its neighbours that are dropped already. The last block stays.
    """
    total = len(teacher.blocks)
    if count == total:
        return list(range(total))
    G, H, squares, sums, seen = _sums(teacher, lr, tick)

    def unexplained(first: int, last: int) -> float:
        """The share of the variance of block ``last``'s output that a map from block ``first``'s input leaves."""
        R = G[first].clone()
        R.diagonal()[:-1] += RIDGE * R.diagonal()[:-1].mean()
        target = H[first][last - first]
        map_ = torch.linalg.solve(R, target)
        left = squares[last] - 2 * (map_ * target).sum(0) + (map_ * (G[first] @ map_)).sum(0)
        return float(left.sum() / (squares[last] - sums[last].square() / seen).sum())

    kept = list(range(total))
    while len(kept) > count:
        kept.remove(min(kept[:-1], key=lambda block: unexplained(*dropped_run(kept, block))))
    return kept


def dropped_run(kept: Sequence[int], block: int) -> tuple[int, int]:
    """First and last of the blocks without those in ``kept`` that would stand in a row around ``block``."""
    place = list(kept).index(block)
    return (kept[place - 1] + 1 if place else 0), kept[place + 1] - 1


def _sums(
    teacher: Network, lr: Tensor, tick: Callable[[], object]
) -> tuple[list[Tensor], list[list[Tensor]], list[Tensor], list[Tensor], int]:
    """For each block the sums over its input's patches, and over these times every later block's outputs."""
    count = len(teacher.blocks)
    G: list[Tensor] = [torch.zeros(())] * count
    H = [[torch.zeros(())] * (count - block) for block in range(count)]
    squares: list[Tensor] = [torch.zeros(())] * count
    sums: list[Tensor] = [torch.zeros(())] * count
    seen = 0
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def keep(_: object, given: tuple[Tensor, ...], result: Tensor) -> None:
        inputs.append(given[0])
        outputs.append(result)

    hooks = [block.register_forward_hook(keep) for block in teacher.blocks]
    try:
        for part in chunks(len(lr)):
            teacher(lr[part])
            later = [y[..., ::STEP, ::STEP].permute(0, 2, 3, 1).flatten(0, 2) for y in outputs]
            for block, x in enumerate(inputs):
                columns = F.unfold(x, KERNEL, padding=KERNEL // 2, stride=STEP).transpose(1, 2).flatten(0, 1)
                rows = F.pad(columns, (0, 1), value=1.0)
                G[block] = G[block] + gram(rows)
                for after, y in enumerate(later[block:]):
                    H[block][after] = H[block][after] + gram(rows, y)
                squares[block] = squares[block] + later[block].double().square().sum(0)
                sums[block] = sums[block] + later[block].double().sum(0)
            seen += len(later[0])
            inputs.clear()
            outputs.clear()
            tick()
    finally:
        for hook in hooks:
            hook.remove()
    return G, H, squares, sums, seen
