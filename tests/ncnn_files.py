"""Small pairs of ncnn files, written layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hkdsr.nets.families.compact import Compact

FLOAT16, FLOAT32 = 0x01306B47, 0


@dataclass
class Pair:
    """Layers from the blob ``data`` on; ``tag`` says in which type convolutions are stored."""

    tag: int = FLOAT32
    lines: list[str] = field(default_factory=lambda: ["Input in 0 1 data"])
    weights: bytearray = field(default_factory=bytearray)

    def layer(self, kind: str, inputs: str, outputs: str, settings: str = "") -> Pair:
        """Add a layer; blobs and settings are separated by blanks."""
        taken, given = inputs.split(), outputs.split()
        words = (kind, f"{kind.lower()}_{len(self.lines)}", len(taken), len(given), *taken, *given, settings)
        self.lines.append(" ".join(map(str, words)))
        return self

    def plain(self, values: Tensor) -> Pair:
        """Add weights without a tag."""
        self.weights += values.detach().numpy().astype("<f4").tobytes()
        return self

    def tagged(self, values: Tensor) -> Pair:
        """Add weights with their tag."""
        content = values.detach().numpy().astype("<f2" if self.tag == FLOAT16 else "<f4").tobytes()
        self.weights += self.tag.to_bytes(4, "little") + content + bytes(-len(content) % 4)
        return self

    def conv(self, taken: str, given: str, weight: Tensor, bias: Tensor, more: str = "4=1") -> Pair:
        """Add a convolution with its weights."""
        settings = f"0={len(weight)} 1={weight.shape[3]} 11={weight.shape[2]} 5=1 6={weight.numel()} {more}"
        return self.layer("Convolution", taken, given, settings).tagged(weight).plain(bias)

    @property
    def text(self) -> str:
        blobs = {word for line in self.lines for word in line.split()[4:] if "=" not in word}
        return "\n".join(["7767517", f"{len(self.lines)} {len(blobs)}", *self.lines, ""])

    def written(self, folder: Path, name: str = "net") -> Path:
        """The path of the .param file."""
        (folder / f"{name}.bin").write_bytes(self.weights)
        (folder / f"{name}.param").write_text(self.text)
        return folder / f"{name}.param"


def drawn(*shape: int, scale: float = 0.2) -> Tensor:
    """Weights that numbers of 16 bits hold exactly."""
    return (scale * torch.randn(shape)).half().float()


def residual(blocks: int = 3, features: int = 4, tag: int = FLOAT32) -> Pair:
    """An x2 network near the enlarged image: blocks of two convolutions, whose features are added to their input."""
    pair = Pair(tag).layer("Split", "data", "d0 d1").conv("d0", "b0", drawn(features, 3, 3, 3), drawn(features))
    for index in range(blocks):
        pair.layer("Split", f"b{index}", f"b{index}_0 b{index}_1")
        pair.conv(f"b{index}_0", f"h{index}", drawn(6, features, 3, 3), drawn(6), "4=1 9=2 -23310=1,2.000000e-01")
        pair.conv(f"h{index}", f"r{index}", drawn(features, 6, 3, 3), drawn(features))
        pair.layer("Eltwise", f"r{index} b{index}_1", f"b{index + 1}", "0=1 -23301=2,2.500000e-01,1.0")
    pair.conv(f"b{blocks}", "last", drawn(12, features, 3, 3, scale=0.01), drawn(12, scale=0.01))
    pair.layer("PixelShuffle", "last", "shuffled", "0=2").layer("Interp", "d1", "large", "0=1 1=2.0 2=2.0")
    return pair.layer("BinaryOp", "shuffled large", "output", "0=0")


def of_compact(network: Compact) -> Pair:
    """The graph that public converters make of a Compact network."""
    pair, blob = Pair().layer("Split", "data", "d0 d1"), "d0"
    parts: Sequence[torch.nn.Module] = list(network.body)
    for index, part in enumerate(parts):
        if isinstance(part, torch.nn.Conv2d):
            assert part.bias is not None
            pair.conv(blob, f"x{index}", part.weight, part.bias)
        else:
            slopes = next(part.parameters())
            pair.layer("PReLU", blob, f"x{index}", f"0={len(slopes)}").plain(slopes)
        blob = f"x{index}"
    scale = network.scale
    pair.layer("PixelShuffle", blob, "shuffled", f"0={scale}")
    pair.layer("Interp", "d1", "large", f"0=1 1={scale:.6e} 2={scale:.6e}")
    return pair.layer("BinaryOp", "shuffled large", "output", "0=0")


def decibels(a: Tensor, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a.detach().numpy() - b).mean() + 1e-20))
