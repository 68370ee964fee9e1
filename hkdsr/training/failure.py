"""Why a training with several processes ends: the processes agree on one reason, which only one of them reports."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.training.process_group import ConnectionLostError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store


@dataclass(frozen=True)
class Failure:
    """The process ``rank`` ends with exit ``code`` for the reason ``text``.

    ``lasting``: it is the user's mistake, so the same command would fail again.
    """

    rank: int
    code: int
    text: str
    lasting: bool = False

    @classmethod
    def of(cls, error: BaseException, rank: int) -> Failure:
        """What ``error`` means for a process: 2 for an HkdsrError, 130 for Ctrl-C, as the command line exits."""
        if isinstance(error, SystemExit):
            return cls(rank, error.code if isinstance(error.code, int) else int(error.code is not None), "")
        if isinstance(error, HkdsrError):
            return cls(rank, 2, str(error), not isinstance(error, ConnectionLostError))
        return cls(rank, 130 if isinstance(error, KeyboardInterrupt) else 1, f"{type(error).__name__}: {error}")


def first_failure(store: Store, mine: Failure) -> Failure:
    """The failure that was stored first: ``mine``, unless another process has failed before."""
    try:
        return Failure(**json.loads(store.compare_set("failure", "", json.dumps(asdict(mine)))))
    except RuntimeError:  # the store is gone
        return mine


def found_failure(store: Store) -> Failure | None:
    """The failure that was stored, if any."""
    return Failure(**json.loads(store.get("failure"))) if store.check(["failure"]) else None


def write_error_file(failure: Failure) -> None:
    """Give the reason to torchrun, if it started this process: its report then ends with this sentence."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path and failure.text:
        content = {"message": failure.text, "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(path).write_text(json.dumps({"message": content}))
