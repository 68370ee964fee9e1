"""Reading the folder of a training, finished or not: its averaged network, recipe, sessions and curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import build, load
from hkdsr.nets.files.named import recorded
from hkdsr.paths import is_folder
from hkdsr.report.content import Curve
from hkdsr.report.logged import logged_curves
from hkdsr.training.checkpoint import FILE as CHECKPOINT_FILE
from hkdsr.training.checkpoint import Checkpoint, read_checkpoint
from hkdsr.training.fidelity import remark
from hkdsr.training.log import read_log
from hkdsr.training.sessions import read_sessions
from hkdsr.training.student import BEST_FILE, WEIGHTS_FILE


@dataclass(frozen=True)
class Run:
    """A network and what is known of its training, which is nothing for a network from a file.

    ``recipe`` holds the flat settings as JSON texts, ``teacher`` and ``val`` the names that the recipe gives them,
    ``sessions`` one sentence, ``remark`` what to know of the scores.
    """

    label: str
    network: Network
    steps: int | None = None
    seconds: float | None = None
    recipe: Mapping[str, str] = field(default_factory=dict)
    teacher: str = ""
    val: str = ""
    sessions: str = ""
    curves: Sequence[Curve] = ()
    remark: str = ""

    @property
    def note(self) -> str:
        """How far an unfinished training is, and its sessions."""
        planned = json.loads(self.recipe.get("training.steps", "null"))
        unfinished = self.steps is not None and planned is not None and self.steps < planned
        progress = f"not finished, step {self.steps:,} of {planned:,}" if unfinished else ""
        return "; ".join(filter(None, (progress, self.sessions)))

    def setting(self, name: str) -> Any:
        """The value of one of the recipe's settings; None if there is no such setting."""
        return json.loads(self.recipe.get(name, "null"))


def read_run(folder: Path, label: str = "") -> Run:
    """The run in ``folder``, called ``label`` or else by the folder's name.

    The network is that of ``student.safetensors``, or of the checkpoint ``last.pt`` where that is newer. Raises
    HkdsrError if there is neither, or if a file is damaged.
    """
    if not is_folder(folder):
        raise HkdsrError(f"there is no run {folder}: name the folder ('out') of a training")
    metadata = _metadata(folder / WEIGHTS_FILE) or _metadata(folder / BEST_FILE)
    checkpoint = read_checkpoint(folder / CHECKPOINT_FILE, None)
    has_weights = (folder / WEIGHTS_FILE).exists()
    if checkpoint and not (has_weights and int(metadata["step"]) >= checkpoint.step):
        network, steps, seconds = _averaged_student(checkpoint, folder), checkpoint.step, checkpoint.seconds
    elif has_weights:
        network, steps, seconds = load(folder / WEIGHTS_FILE), int(metadata["step"]), float(metadata["seconds"])
    else:
        raise HkdsrError(f"{folder} has no weights yet: wait for its first checkpoint, or name another run")
    if checkpoint and not metadata:
        metadata = checkpoint.metadata
    recipe = json.loads(metadata["recipe"]) if metadata else dict(checkpoint.fingerprint if checkpoint else {})
    name = label or folder.resolve().name
    return Run(
        name,
        network,
        steps,
        seconds,
        recipe,
        metadata.get("teacher", ""),
        metadata.get("val", ""),
        sessions_text(folder),
        logged_curves(read_log(folder), name),
        remark(metadata),
    )


def sessions_text(folder: Path) -> str:
    """One sentence on the sessions of the training in ``folder``: steps, seconds and devices; empty without any."""
    parts = []
    for session in read_sessions(folder):
        ended = "to_step" in session
        end = f"to {session['to_step']} in {session['seconds']:.0f} s" if ended else "until it was killed"
        threads = f", {session['threads']} thread{'s' * (session['threads'] > 1)}" if "threads" in session else ""
        processes = f", {session['processes']} processes" if session["processes"] > 1 else ""
        parts.append(f"{session['from_step']} {end} ({session['device']}{threads}{processes})")
    return f"steps {'; '.join(parts)}" if parts else ""


def _metadata(weights: Path) -> dict[str, str]:
    if not weights.exists():
        return {}
    load(weights)  # which names the file if it is damaged
    with safe_open(weights, "pt") as file:
        return file.metadata()


def _averaged_student(checkpoint: Checkpoint, folder: Path) -> Network:
    student, scale = (json.loads(checkpoint.fingerprint[name]) for name in ("student", "scale"))
    prefix = "student."
    state = {key[len(prefix) :]: value for key, value in checkpoint.average.items() if key.startswith(prefix)}
    network = build(recorded(student), scale)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise HkdsrError(f"{folder} was trained with another student than {student} is now: put that file back") from (
            error
        )
    return network.eval()
