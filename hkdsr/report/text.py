"""The table of a report as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from hkdsr.report.content import Row

LEAST_WIDTH = 22
NOTE = (
    "mult-adds: for a 1280x720 output; ms: per image of 640x360 output, on this machine; seconds: of the training, on "
    "the machine that did it"
)


def text_table(rows: Sequence[Row]) -> list[str]:
    """A line of headings, one line per row, and a line that explains the columns; a number of None is left empty."""
    width = max(LEAST_WIDTH, *(len(row.name) + 2 for row in rows))
    head = f"{'':<{width}}{'params':>9}{'mult-adds':>11}{'ms':>8}{'PSNR-Y':>9}{'SSIM-Y':>9}{'steps':>8}{'seconds':>9}"
    return [head, *(_line(row, width).rstrip() for row in rows), NOTE]


def _line(row: Row, width: int) -> str:
    cells = (
        f"{row.name:<{width}}",
        f"{'' if row.params is None else f'{row.params / 1e3:.1f}K':>9}",
        f"{'' if row.macs is None else f'{row.macs / 1e9:.2f}G':>11}",
        f"{'' if row.milliseconds is None else f'{row.milliseconds:.1f}':>8}",
        f"{'' if row.psnr is None else f'{row.psnr:.2f}':>9}",
        f"{'' if row.ssim is None else f'{row.ssim:.4f}':>9}",
        f"{'' if row.steps is None else row.steps:>8}",
        f"{'' if row.seconds is None else f'{row.seconds:.0f}':>9}",
    )
    return "".join(cells)
