"""What the probes with hostile files share: small images, commands run in this process, and all that was said."""

from __future__ import annotations

import functools
import io
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

import hkdsr
from hkdsr.__main__ import main
from hkdsr.data import rgb
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError

LONGEST_MESSAGE = 500
NOBODY = 65534


@functools.cache
def photo(height: int = 24, width: int = 30) -> np.ndarray:
    """A cut of a real photograph, uint8 (height, width, 3), read-only."""
    cut = rgb(demo_files()[1]["coffee"])[120 : 120 + height, 210 : 210 + width]
    cut.setflags(write=False)
    return cut


def deep(height: int = 24, width: int = 30, channels: int = 3) -> np.ndarray:
    """The same as uint16 (height, width, channels) with low bytes of their own, which a reader of 8 bits loses."""
    low = np.random.default_rng(0).integers(1, 255, (height, width, channels))
    return photo(height, width)[..., [0, 1, 2, 1, 0][:channels]].astype(np.uint16) * 256 + low.astype(np.uint16)


def images(folder: Path, names: str, height: int = 40, width: int = 48) -> Path:
    """A folder of real images of this size under the given names, none equal to another."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(shlex.split(names)):
        Image.fromarray(np.roll(photo(height, width), 3 * index, axis=1)).save(folder / name)
    return folder


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and all that it printed, logged and warned of."""

    code: int
    said: str


def command(*arguments: str | Path, encoding: str = "utf-8", stdout: io.TextIOBase | None = None) -> Ended:
    """Run ``hkdsr ARGUMENTS`` in this process. What it raises besides the end of the program is raised here."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2)]
    before, code = sys.argv, 0
    sys.argv = ["hkdsr", *map(str, arguments)]
    try:
        with heard() as notes, redirect_stdout(stdout or streams[0]), redirect_stderr(streams[1]):
            main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    printed = [stream.buffer.getvalue().decode(encoding) for stream in streams]  # pyright: ignore
    return Ended(code, "\n".join([*printed, *notes]))


def refused(*arguments: str | Path) -> str:
    """Run ``hkdsr ARGUMENTS``, which must end with exit code 2 and one sentence, which is returned."""
    ended = command(*arguments)
    sentences = [line for line in ended.said.splitlines() if line.startswith("hkdsr ") and ": note:" not in line]
    assert ended.code == 2, ended
    assert len(sentences) == 1, ended.said
    assert len(sentences[0]) < LONGEST_MESSAGE
    return sentences[0]


def refusal(action: Callable[[], object]) -> str:
    """The one sentence with which ``action`` is refused."""
    with pytest.raises(HkdsrError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < LONGEST_MESSAGE
    return message


def refusal_or_none(action: Callable[[], object]) -> str | None:
    """Where a result and a refusal are both right; anything else that is raised is a fault."""
    try:
        action()
    except HkdsrError:
        return refusal(lambda: _again(sys.exc_info()[1]))
    return None


def _again(error: BaseException | None) -> None:
    assert error is not None
    raise error


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the package logs and warns of meanwhile."""
    notes: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: notes.append(record.getMessage())
    logger = logging.getLogger("hkdsr")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield notes
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            notes += [str(warning.message) for warning in caught]


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder that an ordinary user may use, while this process is one: root may read and write everything."""
    for name in hkdsr.__all__:
        getattr(hkdsr, name)  # imported now, for an ordinary user may not even read the modules of root's Python
    with TemporaryDirectory(prefix="hkdsr-") as name:
        os.chmod(name, 0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """The folder may neither be listed nor entered meanwhile."""
    mode = folder.stat().st_mode
    folder.chmod(0)
    try:
        yield
    finally:
        folder.chmod(mode)
