"""The training log: one JSON object a line, and TensorBoard if ``training.tensorboard`` is set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.paths import exists

FILE = "log.jsonl"
TO_HR, TO_TEACHER = "val_psnr_y", "val_psnr_y_to_teacher"
"""The names of the scores in logs and in the metadata of ``best.safetensors``."""


class TrainingLog:
    """Appends to ``folder/log.jsonl``; lines of steps after ``step``, which a killed run wrote, are deleted first."""

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        path = folder / FILE
        kept = [line for line in read_log(folder) if line["step"] <= step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        # Unbuffered: a line that did not fit on the disk must not be written again when the file is closed.
        self._file = path.open("ab", buffering=0)
        self._board: Any = summary_writer()(str(folder), purge_step=step) if tensorboard else None

    def terms(self, step: int, seconds: float, rate: float, values: dict[str, float]) -> None:
        """Log the loss terms of one step, and the ratio of each to the pixel term, which shows how they balance."""
        pixel = values.get("pixel")
        ratios = {name: value / pixel for name, value in values.items() if name != "pixel"} if pixel else {}
        self._write({"step": step, "seconds": seconds, "lr": rate, "losses": values, "to_pixel": ratios})
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(f"loss/{name}", value, step)

    def validation(self, step: int, seconds: float, scores: Mapping[str, float]) -> None:
        """Log scores on the validation images by their names, such as ``val_psnr_y`` (dB)."""
        self._write({"step": step, "seconds": seconds, **scores})
        if self._board:
            for measure, score in scores.items():
                self._board.add_scalar(measure.replace("_", "/", 1), score, step)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board:
            self._board.close()

    def _write(self, line: dict[str, Any]) -> None:
        left = f"{json.dumps(line)}\n".encode()
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise HkdsrError(f"cannot write {self._file.name} ({error.strerror}): free space on its disk") from error


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a folder's log, without a last one that is incomplete. Raises HkdsrError if the log is damaged."""
    path = folder / FILE
    if not exists(path):
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    try:
        return [json.loads(line) for line in lines[:-1] if line]
    except ValueError as error:
        raise HkdsrError(f"{path} is damaged or not a log of a training: move it away") from error


def summary_writer() -> Any:
    """TensorBoard's class for writing. Raises HkdsrError if it is not installed."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise HkdsrError(
            "training.tensorboard is set but tensorboard is missing: pip install 'hkdsr[tensorboard]'"
        ) from error
    return SummaryWriter
