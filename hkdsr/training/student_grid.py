"""The candidates that a budget chooses from: widths and depths of the families that export to every format."""

from __future__ import annotations

from dataclasses import dataclass

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.settings.choices import Init

WIDTHS = (4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96)
CUTS: tuple[Init, ...] = ("slice", "drop", "prune")
"""Starts that need a student of the teacher's family, no wider and no deeper."""


@dataclass(frozen=True)
class Shape:
    """The name of a family's setting for its depth, depths, and the ``least`` and ``most`` features per unit of depth.

    Networks far wider or far deeper than those that people use are left out.
    """

    depth: str
    depths: tuple[int, ...]
    least: float
    most: float

    def usual(self, width: int, depth: int) -> bool:
        """Whether a network of this width and depth is like those that people use."""
        return self.least <= width / depth <= self.most


SHAPES = {
    "compact": Shape("convs", (2, 4, 6, 8, 10, 12, 16, 20, 24, 32), 2, 6),
    "span": Shape("blocks", (2, 3, 4, 5, 6, 8, 10, 12), 4, 10),
}


def grids() -> list[list[str]]:
    """Descriptions of the candidates, a list for each family."""
    return [
        [
            f"{family}:features={width},{shape.depth}={depth}"
            for width in WIDTHS
            for depth in shape.depths
            if shape.usual(width, depth)
        ]
        for family, shape in SHAPES.items()
    ]


def cut_out_of(source: Network, init: Init) -> list[list[str]]:
    """Descriptions of the candidates that ``source`` can be cut down to by ``init``, one of ``CUTS``.

    Raises HkdsrError if it is of another family, or if there is no smaller one.
    """
    if source.family not in SHAPES:
        raise HkdsrError(
            f"init is '{init}', so the student must be of family {source.family}, but a budget chooses from "
            f"{' and '.join(SHAPES)}: set student to one of family {source.family}, or init to 'scratch'"
        )
    shape, settings = SHAPES[source.family], {n: v for n, v in source.settings.items() if n != "scale"}
    width, depth = source.channels, len(source.blocks)
    widths = [width] if init == "drop" else [*(one for one in WIDTHS if one < width), width]
    depths = [*(one for one in shape.depths if one < depth), depth]
    sizes = [(w, d) for w in widths for d in depths if (w, d) != (width, depth)]
    usual = [size for size in sizes if shape.usual(*size)]
    described = [{**settings, "features": w, shape.depth: d} for w, d in usual or sizes]
    if not described:
        raise HkdsrError(
            f"init is '{init}' but no student of family {source.family} is smaller than one of {width} features and "
            f"{depth} {shape.depth}: set init to 'scratch'"
        )
    return [[f"{source.family}:" + ",".join(f"{n}={v}" for n, v in one.items()) for one in described]]
