"""The table of networks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hkdsr.report.content import Row

MISSING = "\N{EN DASH}"
COLUMNS = (
    "Parameters",
    "Multiply-adds, 1280\N{MULTIPLICATION SIGN}720 output",
    "Time, 640\N{MULTIPLICATION SIGN}360 output",
    "PSNR-Y (dB)",
    "SSIM-Y",
    "Steps",
    "Training time",
)


def results(rows: Sequence[Row], protocol: str) -> str:
    """HTML of the table and of the protocol of its scores; empty without rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Network", *COLUMNS))
    body = "".join(map(_table_row, rows))
    table = f'<table class="results"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'{table}<p class="fine">{escape(protocol)}</p>'


def _table_row(row: Row) -> str:
    values = (
        _count(row.params),
        _count(row.macs),
        MISSING if row.milliseconds is None else f"{_digits(row.milliseconds)} ms",
        MISSING if row.psnr is None else f"{row.psnr:.2f}",
        MISSING if row.ssim is None else f"{row.ssim:.4f}",
        MISSING if row.steps is None else f"{row.steps:,}",
        MISSING if row.seconds is None else _duration(row.seconds),
    )
    cells = "".join(
        f'<td data-name="{name}"{" class=none" if value == MISSING else ""}>{value}</td>'
        for name, value in zip(COLUMNS, values, strict=True)
    )
    note = f'<span class="fine">{escape(row.note)}</span>' if row.note else ""
    return f'<tr><th scope="row">{escape(row.name)}{note}</th>{cells}</tr>'


def _count(number: int | None) -> str:
    """1234567 -> 1.23 M."""
    if number is None:
        return MISSING
    if number < 1000:
        return str(number)
    # From 999.5 on, three digits round up to the next prefix.
    size, prefix = next(s for s in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")) if number >= 0.9995 * s[0])
    return f"{_digits(number / size)} {prefix}"


def _digits(number: float) -> str:
    """Three digits, or all digits before the decimal point."""
    return f"{number:.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
