"""Running a network in pieces, so that features can go from one network to another on the way."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hkdsr.nets.base import Network, in_full_precision, pad_to_multiple


def run_blocks(network: Network, features: Tensor, start: int, stop: int) -> Tensor:
    """Blocks ``start`` to ``stop`` - 1 of ``network`` on features (B, C, h, w) of any size, which stay that size.

    Where a size is no multiple of ``pad_multiple``, the features themselves are continued, not the image.
    """
    height, width = features.shape[-2:]
    features = pad_to_multiple(features, network.pad_multiple)
    for block in network.blocks[start:stop]:
        features = block(features)
    return features[..., :height, :width]


def finish(network: Network, features: Tensor, start: int, lr: Tensor) -> Tensor:
    """The image (B, 3, scale*h, scale*w) of ``lr`` (B, 3, h, w), its features before block ``start`` being given.

    A network that joins all blocks' outputs gives those before ``start`` from its own pass over ``lr``.
    """
    height, width = (network.scale * side for side in lr.shape[-2:])
    features, lr = (pad_to_multiple(x, network.pad_multiple) for x in (features, lr))
    blocks = network.blocks
    shallow = network.shallow(lr)
    if network.joins_blocks:
        deep = _joined(network, features, start, shallow)
    else:
        deep = run_blocks(network, features, start, len(blocks))
    return in_full_precision(network.reconstruct, deep, shallow, lr)[..., :height, :width]


def _joined(network: Network, features: Tensor, start: int, shallow: Tensor) -> Tensor:
    # Given features take the place of what goes into block `start`, or of what comes out of the last block.
    blocks = network.blocks

    def instead(module: nn.Module, given: tuple[Tensor, ...], result: Tensor | None = None) -> Tensor:
        return features

    at_end = start == len(blocks)
    place = blocks[-1].register_forward_hook(instead) if at_end else blocks[start].register_forward_pre_hook(instead)
    try:
        deep, _ = network.run_trunk(shallow, ())
    finally:
        place.remove()
    return deep


def tapped(network: Network, lr: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """The outputs of the blocks ``taps`` for (B, 3, h, w), padded as in ``trace``; no image is made on the way."""
    if not network.runs_in_parts:
        return list(network.trace(lr, taps).taps)
    _, kept = network.run_trunk(network.shallow(pad_to_multiple(lr, network.pad_multiple)), taps)
    return [kept[index] for index in taps]
