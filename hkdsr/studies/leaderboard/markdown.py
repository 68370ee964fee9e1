"""The leaderboard in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hkdsr.studies.leaderboard.content import Entry, Leaderboard, RowTraining, Scores
from hkdsr.studies.leaderboard.statistics import Difference
from hkdsr.studies.published import Table
from hkdsr.studies.published import markdown as published_markdown
from hkdsr.studies.results import Cost
from hkdsr.studies.study import Study
from hkdsr.training.fidelity import remark

UP, DOWN = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
NONE = "\N{EN DASH}"
SCORES = f"""\
PSNR-Y in dB, mean \N{PLUS-MINUS SIGN} standard deviation over seeds, and SSIM-Y, of the averaged weights after the last
step. In brackets: how much of the gap between plain training and the teacher is closed. {UP} and {DOWN}: significantly
above or below the plain row. **Bold**: the best student, and every other that is not significantly below it."""
DIFFERENCES = """\
PSNR-Y minus that of the plain row, in dB, with its 95 % interval: paired percentile bootstrap over images, 10,000 draws
with a fixed seed, widened by Student's t for the spread over seeds. A difference is significant if the interval
excludes zero: it is then expected with other images and other seeds too. With few images, as in Set5, the interval is
rough; with a single seed it is over images alone."""
PASSES = """\
A pass: one run of the whole
network over as many LR pixels as a batch has, mean over steps; in brackets the teacher's passes before the first step,
which compute its images on disk and train its exits. Memory: the highest peak during training (for a run that was
killed, since it was last continued) of the GPU where there is one, else of the process, which includes the images that
it has read from disk."""
COSTS = f"""\
Seconds: those of the training steps, mean over seeds; the preparation of the teacher's exits and images, scoring and
validation are not included. Relative time: the seconds divided by those of the plain row. {PASSES}"""


def markdown(study: Study, title: str, board: Leaderboard, published: Sequence[Table], image: str) -> str:
    """The whole page. It ends with the ``published`` tables; ``image`` is the name of the chart's file."""
    parts = [
        f"# {title}",
        conditions(study, board, f"{study.training.steps} steps"),
        f"![Scores of every row on every set]({image})",
        "## Scores",
        *board.protocols,
        score_table(study, board),
        SCORES,
        "## Differences to plain training",
        differences(study, board),
        DIFFERENCES,
        "## Costs",
        _costs(study, board),
        COSTS,
        devices(board),
        board.controls,
    ]
    parts += unfinished(board.unfinished)
    if published:
        parts += ["## Published tables", *map(published_markdown, published)]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """The lines of a table: its first columns hold text, the others numbers, aligned to the right."""
    lines = [head, ["---" if index < text_columns else "---:" for index in range(len(head))], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def unfinished(reasons: Mapping[str, str]) -> list[str]:
    """The section of the runs that are not finished, if there are any, with the ``reasons`` where they are known."""
    runs = (f"- {name}{f': {reason}' if reason else ''}" for name, reason in reasons.items())
    return ["## Unfinished runs", "\n".join(runs)] if reasons else []


def conditions(study: Study, board: Leaderboard, length: str) -> str:
    """What all rows have in common; ``length`` says for how long they were trained."""
    training, data = study.training, ", ".join(folder.name for folder in study.data.train)
    data += " as LR images, without HR" if study.data.lr_only else ""
    data += f", degraded by {study.degrade.preset}" if study.degrade.used else ""
    sizes = {role: f" ({board.facts[role]})" if role in board.facts else "" for role in ("teacher", "student")}
    text = (
        f"Teacher: {Path(study.teacher).name}{sizes['teacher']}. Student: {study.student}{sizes['student']}. "
        f"Trained on {data}: {length} of {training.batch} crops of {study.data.patch}x{study.data.patch} "
        f"LR pixels, Adam at {training.lr:g}, seeds {', '.join(map(str, study.seeds))}."
    )
    return f"{text} {warning}" if (warning := remark(board.facts)) else text


def score_table(study: Study, board: Leaderboard, more: Iterable[Sequence[str]] = ()) -> str:
    """The scores of every entry on every set; ``more`` lines follow."""
    lines = (
        [label(study, entry), *_method(entry), *(_score(entry.sets[name]) for name in study.sets)]
        for entry in board.entries
    )
    return table(["", "method", "init", *study.sets], [*lines, *more], text_columns=3)


def label(study: Study, entry: Entry) -> str:
    """The entry's label, with the number of seeds where some are missing."""
    done = len(entry.training.seconds_by_seed) if entry.training else len(study.seeds)
    return entry.label if done == len(study.seeds) else f"{entry.label} ({done} of {len(study.seeds)} seeds)"


def _method(entry: Entry) -> tuple[str, str]:
    return (entry.training.method, entry.training.init) if entry.training else ("", "")


def _score(scores: Scores) -> str:
    spread = "" if scores.deviation is None else f" \N{PLUS-MINUS SIGN} {scores.deviation:.3f}"
    text = f"{scores.psnr_y:.3f}{spread} / {scores.ssim_y:.4f}"
    if scores.is_student and not (scores.to_best and scores.to_best.significant and scores.to_best.mean < 0):
        text = f"**{text}**"
    gap = "" if scores.gap is None else f" ({100 * scores.gap:.0f} %)"
    return f"{text}{gap}{_arrow(scores.to_plain) if scores.is_student else ''}"


def _arrow(difference: Difference | None) -> str:
    if difference is None or not difference.significant:
        return ""
    return f" {UP if difference.mean > 0 else DOWN}"


def differences(study: Study, board: Leaderboard) -> str:
    """The table of differences to the plain row, or a sentence where there are none yet."""
    entries = [e for e in board.entries if e.training and any(s.to_plain for s in e.sets.values())]
    if not entries:
        return "No differences yet: they need a finished plain row and another finished row."
    rows = ([label(study, e), *(_difference(e.sets[name].to_plain) for name in study.sets)] for e in entries)
    counted = (f"{name} ({len(board.images[name])} images)" for name in study.sets)
    return table(["", *counted], rows)


def _difference(found: Difference | None) -> str:
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" if found else NONE


def _costs(study: Study, board: Leaderboard) -> str:
    head = ["", "steps", "seconds", "relative time", "student passes per step", "teacher passes per step", "memory"]
    return table(head, ([label(study, e), *_cost(e.training)] for e in board.entries if e.training))


def _cost(training: RowTraining) -> list[str]:
    cost = training.cost
    return [
        f"{cost.steps:,}",
        seconds_text(cost.seconds),
        NONE if training.wall_clock is None else f"{training.wall_clock:.2f}",
        *passes_and_memory(cost),
    ]


def seconds_text(seconds: float) -> str:
    """Whole seconds, or for less than ten of them hundredths."""
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2f}"


def passes_and_memory(cost: Cost) -> list[str]:
    """The passes of student and teacher, and the peak memory."""
    once = cost.cached_passes + cost.exit_passes
    return [
        f"{cost.student_passes:.2f}",
        f"{cost.teacher_passes:.2f}{f' ({once:,.0f} before)' if once else ''}",
        NONE if cost.peak_memory is None else f"{cost.peak_memory / 2**20:,.0f} MiB",
    ]


def devices(board: Leaderboard) -> str:
    """On which devices the rows were trained."""
    by_device: dict[str, list[str]] = {}
    for entry in board.entries:
        if entry.training:
            by_device.setdefault(entry.training.cost.device, []).append(entry.label)
    if not by_device:
        return "Nothing has been trained yet."
    if len(by_device) == 1:
        return f"Trained on: {next(iter(by_device))}. Other work of the machine at that time was not recorded."
    devices = "; ".join(f"{device} ({', '.join(labels)})" for device, labels in by_device.items())
    return f"Trained on: {devices}. **Times of different devices cannot be compared.**"
