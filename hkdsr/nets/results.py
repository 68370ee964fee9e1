"""The images in what a module returns, which may be a tensor, or a tuple, list or dictionary of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor


def image_of(result: object, like: tuple[int, int, int], output: int | None) -> Tensor | None:
    """The image of shape (B, 3, h, w) in what a module returns: a tensor, or the first one in a tuple or dictionary.

    ``like`` is (B, h, w); ``output`` names its place there. None if there is no such image.
    """
    results = results_of(result)
    if output is not None:
        results = results[output : output + 1]
    batch, *sides = like
    return next((r for r in results if r.shape == (batch, 3, *sides)), None)


def results_of(result: object) -> list[Tensor]:
    """The tensors in what a module returns, in order."""
    return list(_tensors(result))


def _tensors(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Mapping):
        yield from (item for value in result.values() for item in _tensors(value))
    elif isinstance(result, list | tuple):
        yield from (item for value in result for item in _tensors(value))
