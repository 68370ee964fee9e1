"""Run parts of a network, so that features of one network can continue in another."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hkdsr.nets.base import Network, in_full_precision, pad_to_multiple


def run_blocks(network: Network, features: Tensor, start: int, stop: int) -> Tensor:
    """Blocks ``start`` to ``stop`` - 1 of ``network`` on features (B, C, h, w) of any size -> the same shape.

    Sides that are no multiples of ``pad_multiple`` are padded: the features, not the image.
    """
    height, width = features.shape[-2:]
    features = pad_to_multiple(features, network.pad_multiple)
    for block in network.blocks[start:stop]:
        features = block(features)
    return features[..., :height, :width]


def finish(network: Network, features: Tensor, start: int, lr: Tensor) -> Tensor:
    """Run ``network`` on ``lr`` (B, 3, h, w) with ``features`` as the input of block ``start``; returns the SR image.

    A network that fuses the outputs of all blocks computes those of the blocks before ``start`` from ``lr``.
    """
    height, width = (network.scale * side for side in lr.shape[-2:])
    features, lr = (pad_to_multiple(x, network.pad_multiple) for x in (features, lr))
    blocks = network.blocks
    shallow = network.shallow(lr)
    if network.joins_blocks:
        deep = _fused(network, features, start, shallow)
    else:
        deep = run_blocks(network, features, start, len(blocks))
    return in_full_precision(network.reconstruct, deep, shallow, lr)[..., :height, :width]


def _fused(network: Network, features: Tensor, start: int, shallow: Tensor) -> Tensor:
    # The given features replace the input of block `start` or, after the last block, its output.
    blocks = network.blocks

    def replace(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None = None) -> Tensor:
        return features

    at_end = start == len(blocks)
    hook = blocks[-1].register_forward_hook(replace) if at_end else blocks[start].register_forward_pre_hook(replace)
    try:
        deep, _ = network.run_trunk(shallow, ())
    finally:
        hook.remove()
    return deep


def tapped(network: Network, lr: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """The outputs of the blocks ``taps`` for ``lr`` (B, 3, h, w), padded as in ``trace``, without the SR image."""
    if not network.runs_in_parts:
        return list(network.trace(lr, taps).taps)
    _, kept = network.run_trunk(network.shallow(pad_to_multiple(lr, network.pad_multiple)), taps)
    return [kept[index] for index in taps]
