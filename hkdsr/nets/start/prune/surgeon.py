"""The optimal brain surgeon (Hassibi and Stork, NIPS 1992) for groups of inputs of a linear layer.

A layer gives B^T [phi; 1] for the patches phi of its input. With G the sum of [phi; 1] [phi; 1]^T and P = G^-1, the
squared error of removing the inputs g while all other weights adapt is exactly tr(B_g^T P_gg^-1 B_g); what is left is
B - P_:g P_gg^-1 B_g and P - P_:g P_gg^-1 P_g:.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RIDGE = 1e-5
TINY = torch.finfo(torch.float64).tiny


class Reader:
    """A layer from which inputs are removed.

    Args:
        G: (n + 1, n + 1), see above; the constant comes last.
        weights: (n + 1, outputs), the bias last; the outputs count by their squared error.
    """

    def __init__(self, G: Tensor, weights: Tensor) -> None:
        R = G.clone()
        R.diagonal()[:-1] += RIDGE * G.diagonal()[:-1].mean() + TINY
        self._P = torch.linalg.inv(R)
        self._B = weights
        self._total = (weights * (G @ weights)).sum().clamp(min=TINY)

    def costs(self, entries: Tensor) -> Tensor:
        """For each row of ``entries`` (candidates, inputs of each): the share of the output's squares lost with it."""
        blocks = self._P[entries[:, :, None], entries[:, None, :]]
        B = self._B[entries]
        return (B * torch.linalg.solve(blocks, B)).sum((1, 2)) / self._total

    def remove(self, entries: Tensor) -> None:
        """Remove these inputs and let the other weights adapt."""
        toward = torch.linalg.solve(self._P[entries[:, None], entries], self._P[entries])
        self._B = self._B - toward.T @ self._B[entries]
        self._P = self._P - self._P[:, entries] @ toward


def eliminate(readers: Sequence[tuple[Reader, Tensor]], keep: int, extra: Tensor) -> list[int]:
    """The ``keep`` channels that are left after the cheapest has been removed again and again.

    Each reader comes with the inputs of every channel (channels, inputs of each); ``extra`` (channels,) adds to costs.
    """
    alive = list(range(len(extra)))
    while len(alive) > keep:
        cost = sum((reader.costs(entries[alive]) for reader, entries in readers), extra[alive])
        channel = alive.pop(int(cost.argmin()))
        for reader, entries in readers:
            reader.remove(entries[channel])
    return alive
