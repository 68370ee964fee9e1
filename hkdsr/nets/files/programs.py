"""Programs that PyTorch has written, TorchScript and torch.export: ``FILE.pt:forward:setting=value,...``.

Such a file holds code and not only weights. TorchScript can write files, and loading what torch.export has saved can
run any Python. So they are named as code is, and never run because a file names them; see ``hkdsr.nets.files.code``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for, ran_out
from hkdsr.nets.files.file_network import FileNetwork
from hkdsr.nets.files.how_to_run import HOW, how_to_run
from hkdsr.nets.files.named import remember
from hkdsr.nets.files.pickles import REMEDY, TORCHSCRIPT, program_kind
from hkdsr.nets.files.session import require_images
from hkdsr.user_code import CodeName, read_source

METHOD = "forward"
LONGEST_REASON = 200


class ProgramNetwork(FileNetwork):
    """The network that a program computes. It has no features to compare."""

    family = "program"
    kind = "program"

    def _explored(self) -> None:
        return  # its parts are not modules of PyTorch, or are not called


def from_program(code: CodeName) -> FileNetwork:
    """The network that ``code`` names, which is run.

    Raises HkdsrError for a file that is missing or no program, another name than ``forward``, settings that it does not
    take, and what does not turn one image into one of 2, 3 or 4 times the size.
    """
    path, name = code.file, str(code.file)
    content, _ = read_source(path, "check the path")
    kind = program_kind(path)
    if kind is None:
        raise HkdsrError(f"{name} is no program of TorchScript or torch.export: name the file alone, as {path.name}")
    if code.name != METHOD:
        raise HkdsrError(f"{name} has no function '{code.name}' to run: name it as {path.name}:{METHOD}")
    if other := [key for key in code.arguments if key not in HOW]:
        raise HkdsrError(f"{name} has no setting '{other[0]}': choose from {', '.join(HOW)}")
    remember(code)
    with needed_for(name, REMEDY):
        program, size = _torchscript(path) if kind == TORCHSCRIPT else _exported(path)
    how = how_to_run(code.arguments, name)
    return ProgramNetwork(_Program(program, name), name, content, {"architecture": kind}, size=size, **how)


def _torchscript(path: Path) -> tuple[nn.Module, None]:
    with warnings.catch_warnings(), _readable(path):
        warnings.simplefilter("ignore")  # that TorchScript is deprecated is no news for who has such a file
        return torch.jit.load(str(path), map_location="cpu").eval(), None


def _exported(path: Path) -> tuple[nn.Module, tuple[int, int] | None]:
    """The module, and the size of its images if that is fixed."""
    with _quiet("torch.export"), _readable(path):
        exported = torch.export.load(path)
        inputs = [node for node in exported.graph.nodes if node.name in exported.graph_signature.user_inputs]
        shapes = [node.meta["val"].shape for node in inputs]
        module = exported.module(check_guards=False)
    sides = [[side if isinstance(side, int) else None for side in shape] for shape in shapes]
    return module, require_images(sides, str(path), "torch.export")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Inside, whatever reading ``path`` raises is an HkdsrError, but for memory that runs out."""
    try:
        yield
    except Exception as error:  # reading runs code of the file, which may raise anything
        if ran_out(error):
            raise
        raise HkdsrError(f"{path} cannot be read by this PyTorch ({_reason(error)}): write it again") from error


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Inside, ``logger`` tells errors only: what goes wrong is raised, too."""
    talker = logging.getLogger(logger)
    before = talker.level
    talker.setLevel(logging.ERROR)
    try:
        yield
    finally:
        talker.setLevel(before)


class _Program(nn.Module):
    """What ``program`` computes, with its errors in one sentence."""

    def __init__(self, program: nn.Module, name: str) -> None:
        super().__init__()
        self.program, self._name = program, name

    def forward(self, x: Tensor) -> object:
        try:
            return self.program(x)
        except Exception as error:  # a program may raise anything
            if ran_out(error):
                raise  # smaller tiles may help
            size = f"{x.shape[-1]}x{x.shape[-2]}"
            raise HkdsrError(f"{self._name} fails on images of {size} ({_reason(error)}): export it again") from error

    def train(self, mode: bool = True) -> _Program:
        self.training = mode  # it computes in the mode that it was written in; torch.export's modules refuse another
        return self


def _reason(error: Exception) -> str:
    """Its last line: those before quote the program."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[-1].split())[:LONGEST_REASON]
