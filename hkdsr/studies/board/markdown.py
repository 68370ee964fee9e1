"""The leaderboard in Markdown, to be read as it is or on any page that renders it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hkdsr.studies.board.board import Board, Entry, Scores, Training
from hkdsr.studies.board.stats import Difference
from hkdsr.studies.published import Table
from hkdsr.studies.published import markdown as published_markdown
from hkdsr.studies.study import Study

UP, DOWN = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
NONE = "\N{EN DASH}"
SCORES = f"""\
PSNR-Y in dB, mean \N{PLUS-MINUS SIGN} standard deviation over seeds, and SSIM-Y, of the averaged weights after the last
step. In brackets: the share of the gap between plain training and the teacher that was closed. {UP} and {DOWN}: really
above or below the plain row. **Bold**: the best student, and every other that is not really below it."""
DIFFERENCES = """\
PSNR-Y less the plain row's, in dB, with its 95 % interval: paired percentile bootstrap over images, 10,000 draws with
a fixed seed, widened by Student's t for the spread over seeds. A difference is called real if the interval leaves out
zero: it would then be expected with other images and other seeds too. With few images, as in Set5, the interval is
rough, and with a single seed it is that of the images alone."""
COSTS = """\
Time: seconds of training steps, mean over seeds, and over those of the plain row; making the teacher's exits and
images, scoring and validating are not in it. A pass: one run of the whole network over as many LR pixels as a batch
has, mean over steps; in brackets the teacher's passes before the first step, for its images on disk and to train its
exits. Memory: the highest peak while training (of a run that was killed, since it last went on), of the GPU where there
is one, else of the process, to which the images count that it has read from the disk so far."""


def markdown(study: Study, title: str, board: Board, beside: Sequence[Table], image: str) -> str:
    """The whole page; ``beside`` are published tables to end it with, ``image`` the name of the board's image."""
    parts = [
        f"# {title}",
        _setting(study, board),
        f"![Scores of every row on every set]({image})",
        "## Scores",
        *board.protocols,
        _scores(study, board),
        SCORES,
        "## Differences to plain training",
        *(_differences(study, board)),
        "## Costs",
        _costs(study, board),
        COSTS,
        _machines(board),
        board.controls,
    ]
    if board.unfinished:
        runs = (f"- {name}{f': {reason}' if reason else ''}" for name, reason in board.unfinished.items())
        parts += ["## Unfinished runs", "\n".join(runs)]
    if beside:
        parts += ["## Published tables", *map(published_markdown, beside)]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Lines of a table; the first columns hold ``words``, the others numbers, aligned to the right."""
    lines = [head, ["---" if index < words else "---:" for index in range(len(head))], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _setting(study: Study, board: Board) -> str:
    training, data = study.training, ", ".join(folder.name for folder in study.data.train)
    sizes = {role: f" ({board.facts[role]})" if role in board.facts else "" for role in ("teacher", "student")}
    return (
        f"Teacher: {Path(study.teacher).name}{sizes['teacher']}. Student: {study.student}{sizes['student']}. "
        f"Trained on {data}: {training.steps} steps of {training.batch} crops of {study.data.patch}x{study.data.patch} "
        f"LR pixels, Adam at {training.lr:g}, seeds {', '.join(map(str, study.seeds))}."
    )


def _scores(study: Study, board: Board) -> str:
    return table(
        ["", "method", "start", *study.sets],
        (
            [_label(study, entry), *_method(entry), *(_score(entry.sets[name]) for name in study.sets)]
            for entry in board.entries
        ),
        words=3,
    )


def _label(study: Study, entry: Entry) -> str:
    done = len(entry.training.seconds_by_seed) if entry.training else len(study.seeds)
    return entry.label if done == len(study.seeds) else f"{entry.label} ({done} of {len(study.seeds)} seeds)"


def _method(entry: Entry) -> tuple[str, str]:
    return (entry.training.method, entry.training.init) if entry.training else ("", "")


def _score(scores: Scores) -> str:
    spread = "" if scores.deviation is None else f" \N{PLUS-MINUS SIGN} {scores.deviation:.3f}"
    told = f"{scores.psnr_y:.3f}{spread} / {scores.ssim_y:.4f}"
    if scores.is_student and not (scores.to_best and scores.to_best.real and scores.to_best.mean < 0):
        told = f"**{told}**"
    gap = "" if scores.gap is None else f" ({100 * scores.gap:.0f} %)"
    return f"{told}{gap}{_arrow(scores.to_plain) if scores.is_student else ''}"


def _arrow(difference: Difference | None) -> str:
    if difference is None or not difference.real:
        return ""
    return f" {UP if difference.mean > 0 else DOWN}"


def _differences(study: Study, board: Board) -> list[str]:
    entries = [e for e in board.entries if e.training and any(s.to_plain for s in e.sets.values())]
    if not entries:
        return ["There is no finished plain row with another beside it."]
    rows = ([_label(study, e), *(_difference(e.sets[name].to_plain) for name in study.sets)] for e in entries)
    counted = (f"{name} ({len(board.images[name])} images)" for name in study.sets)
    return [table(["", *counted], rows), DIFFERENCES]


def _difference(found: Difference | None) -> str:
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" if found else NONE


def _costs(study: Study, board: Board) -> str:
    head = ["", "steps", "seconds", "to plain", "student passes a step", "teacher passes a step", "memory"]
    return table(head, ([_label(study, e), *_cost(e.training)] for e in board.entries if e.training))


def _cost(training: Training) -> list[str]:
    cost = training.cost
    once = cost.cached_passes + cost.exit_passes
    return [
        f"{cost.steps:,}",
        f"{cost.seconds:,.0f}" if cost.seconds >= 10 else f"{cost.seconds:.2f}",
        NONE if training.wall_clock is None else f"{training.wall_clock:.2f}",
        f"{cost.student_passes:.2f}",
        f"{cost.teacher_passes:.2f}{f' ({once:,.0f} before)' if once else ''}",
        f"{cost.peak_memory / 2**20:,.0f} MiB",
    ]


def _machines(board: Board) -> str:
    by_device: dict[str, list[str]] = {}
    for entry in board.entries:
        if entry.training:
            by_device.setdefault(entry.training.cost.device, []).append(entry.label)
    if not by_device:
        return "Nothing was trained yet."
    if len(by_device) == 1:
        return f"Trained on: {next(iter(by_device))}. What else the machine did at the time is not known."
    told = "; ".join(f"{device} ({', '.join(labels)})" for device, labels in by_device.items())
    return f"Trained on: {told}. **Times of different machines do not compare.**"
