"""The training log: one JSON object a line, and TensorBoard where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically

FILE = "log.jsonl"


class TrainingLog:
    """Appends to ``folder/log.jsonl``; lines later than ``step``, from before a kill, are dropped on opening."""

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        path = folder / FILE
        kept = [line for line in read_log(folder) if line["step"] <= step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        # Unbuffered: a line that the disk has no room for must not be tried again on closing.
        self._file = path.open("ab", buffering=0)
        self._board: Any = _board(folder, step) if tensorboard else None

    def terms(self, step: int, seconds: float, rate: float, values: dict[str, float]) -> None:
        """Loss terms of one step; the ratio of each to the pixel term shows how the weights balance."""
        pixel = values.get("pixel")
        ratios = {name: value / pixel for name, value in values.items() if name != "pixel"} if pixel else {}
        self._write({"step": step, "seconds": seconds, "lr": rate, "losses": values, "to_pixel": ratios})
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(f"loss/{name}", value, step)

    def validation(self, step: int, seconds: float, psnr_y: float) -> None:
        """PSNR-Y on the validation images."""
        self._write({"step": step, "seconds": seconds, "val_psnr_y": psnr_y})
        if self._board:
            self._board.add_scalar("val/psnr_y", psnr_y, step)

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
    """The lines of a folder's log; a last line cut by a kill is left out. Raises HkdsrError for one that is damaged."""
    path = folder / FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    try:
        return [json.loads(line) for line in lines[:-1] if line]
    except ValueError as error:
        raise HkdsrError(f"{path} is damaged or not a log of a training: move it away") from error


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise HkdsrError(
            "training.tensorboard is set but tensorboard is missing: pip install 'hkdsr[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=step)
