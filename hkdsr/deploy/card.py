"""Cards of an exported network: what it is, what it was made from, and under which licence.

One is JSON in the format of OpenModelDB (its ``src/lib/schema.ts``), which lists community networks; the other is
Markdown, for people. Both are written from the metadata of the student's file, so that nothing is typed twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hkdsr.deploy.formats import FORMATS
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network
from hkdsr.nets.files.licence import KEY, is_non_commercial
from hkdsr.nets.files.load import WEIGHTS, load, metadata
from hkdsr.scoring import cost

PLATFORMS = {"onnx": "onnx", "ncnn": "ncnn", "safetensors": "pytorch", "pth": "pytorch"}
"""What OpenModelDB calls the platform of a format; it has none for the others."""
AUTHOR = re.compile(r"[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*")


@dataclass(frozen=True)
class Maker:
    """What only the maker of a student can say: a name of letters, digits and hyphens, and licences in SPDX's words.

    Raises HkdsrError for another name.
    """

    author: str
    licence: str = ""
    teacher_licence: str = ""

    def __post_init__(self) -> None:
        if not AUTHOR.fullmatch(self.author):
            raise HkdsrError(f"the author is {self.author!r}: use letters, digits and single hyphens, as in jane-doe")


def write_cards(target: Path, network: Network, told: Mapping[str, str], maker: Maker) -> list[Path]:
    """Write the cards of ``network``, exported as ``target``, beside it: NAME.json and NAME.md.

    ``told`` is the metadata of the student's own file, which may be empty. Returns the files. Raises HkdsrError if one
    cannot be written.
    """
    facts = _facts(target, network, told, maker)
    json_card, text_card = target.with_suffix(".json"), target.with_suffix(".md")
    write_atomically(json_card, json.dumps(facts, indent=2, ensure_ascii=False).encode())
    write_atomically(text_card, _text(facts, network, told, maker).encode())
    return [json_card, text_card]


def card_text(name: str, model: str | Path) -> str:
    """What is known of a network's file, or of the shipped network ``model``, in Markdown, under the title ``name``.

    That is the card beside the file, which no link leads to, or else what the file tells. Raises HkdsrError as
    ``hkdsr.load`` does.
    """
    file = WEIGHTS / model if isinstance(model, str) else model
    beside = file.with_name(f"{file.stem}.md")
    if beside.is_file() and beside.resolve().parent == file.resolve().parent:
        return beside.read_text("utf-8", errors="replace")
    network, told = load(model), metadata(model)
    settings = ", ".join(f"{key} {value}" for key, value in network.settings.items() if key != "scale")
    size = f"\n\n{cost(network)}, for an output of 1280x720." if network.runs_in_pytorch else ""
    about, licence = describe(network, told, Maker("unknown")), told.get(KEY) or "not given"
    return f"# {name}\n\n{about}{size}\n\n- **Family**: {network.family} ({settings})\n- **Licence**: {licence}"


def warnings_of(maker: Maker, told: Mapping[str, str]) -> list[str]:
    """What has to be said aloud about the licences."""
    teacher = _teacher_licence(maker, told)
    found = []
    if is_non_commercial(teacher) and not is_non_commercial(maker.licence):
        found.append(
            f"the teacher's licence, {teacher}, forbids commercial use, and a student carries what its teacher knows: "
            f"give the student such a licence too, not {maker.licence or 'none'}"
        )
    if "teacher" in told and not teacher:
        found.append("the licence of the teacher's weights is not known: give it with --teacher-licence")
    return found


def _facts(target: Path, network: Network, told: Mapping[str, str], maker: Maker) -> dict[str, Any]:
    settings = _settings(told)
    facts: dict[str, Any] = {
        "name": target.stem,
        "author": maker.author,
        "license": maker.licence or told.get(KEY) or None,
        "tags": ["photo"],
        "description": describe(network, told, maker),
        "date": date.today().isoformat(),
        "architecture": network.family,
        "size": [f"{value} {name}" for name, value in network.settings.items() if name != "scale"] or None,
        "scale": network.scale,
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": _resources(target),
        "images": [],
    }
    trained = {
        "trainingIterations": int(told["step"]) if told.get("step", "").isdigit() else None,
        "trainingBatchSize": settings.get("training.batch"),
        "trainingHRSize": network.scale * settings["data.patch"] if "data.patch" in settings else None,
        "dataset": ", ".join(Path(folder).name for folder in settings.get("data.train", ())) or None,
    }
    return facts | {name: value for name, value in trained.items() if value is not None}


def _resources(target: Path) -> Sequence[dict[str, Any]]:
    chosen = next(entry for entry in FORMATS.values() if entry.suffix == target.suffix)
    files = [chosen.place(target, part) for part in (chosen.suffix, chosen.weights) if part]
    return [
        {
            "platform": PLATFORMS.get(chosen.name, chosen.name),
            "type": file.suffix.removeprefix("."),
            "size": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "urls": [],
        }
        for file in files
    ]


def describe(network: Network, told: Mapping[str, str], maker: Maker) -> str:
    """Scale, size, method and teacher of a network in sentences, from the metadata ``told`` by its file."""
    found = cost(network)
    text = f"A x{network.scale} network: {found.params / 1e3:,.1f} K parameters."
    if "teacher" not in told:
        return text
    method = _settings(told).get("method.name")
    by = f" by {method if isinstance(method, str) else ' and '.join(method)}" if method else ""
    licence = _teacher_licence(maker, told)
    text += f" Distilled{by} from {Path(told['teacher']).name}"
    if "teacher_sha256" in told:
        text += f" (SHA-256 of its weights: {told['teacher_sha256'].split(',')[0]})"
    text += f", whose licence is {licence or 'not known'}."
    if is_non_commercial(licence):
        text += " That licence forbids commercial use."
    return text


def _text(facts: Mapping[str, Any], network: Network, told: Mapping[str, str], maker: Maker) -> str:
    files = "\n".join(f"- `{facts['name']}.{r['type']}`, sha256 `{r['sha256']}`" for r in facts["resources"])
    trained = "".join(
        f"- **{label}**: {facts[name]}\n"
        for label, name in (
            ("Steps", "trainingIterations"),
            ("Batch", "trainingBatchSize"),
            ("HR patch", "trainingHRSize"),
            ("Images", "dataset"),
        )
        if name in facts
    )
    notes = "".join(f"\n**Note**: {warning}.\n" for warning in warnings_of(maker, told))
    return (
        f"# {facts['name']}\n\n{facts['description']}\n\n{cost(network)}.\n\n"
        f"- **Author**: {maker.author}\n- **Licence**: {facts['license'] or 'not given'}\n{trained}{notes}\n{files}\n"
    )


def _settings(told: Mapping[str, str]) -> dict[str, Any]:
    """The recipe of the run that made the student, by setting."""
    try:
        return {name: json.loads(value) for name, value in json.loads(told["recipe"]).items()}
    except (LookupError, ValueError, TypeError, AttributeError):
        return {}


def _teacher_licence(maker: Maker, told: Mapping[str, str]) -> str:
    return maker.teacher_licence or told.get(f"teacher_{KEY}", "")
