"""The description of an ncnn network (.param): a line of text for each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hkdsr.errors import HkdsrError

MAGIC = "7767517"
MOST_LAYERS = 4000
"""Real-ESRGAN x4plus has 999."""
ARRAY = -23300
"""The setting ``n`` is written under ``ARRAY - n`` where it is a list: its length, then its items."""
LARGEST = 1e39
"""Of a number in float32."""
SHOWN = 60

Number = int | float
Value = Number | str | tuple[Number, ...]


@dataclass(frozen=True)
class Layer:
    """A line of the description of ``file``: what is computed from which blobs. Settings have numbers for names."""

    file: str
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: dict[int, Value]

    def whole(self, setting: int, default: int = 0, least: int = 0, most: int = 1 << 30) -> int:
        """A whole number. Raises HkdsrError for another value, and outside ``least`` to ``most``."""
        value = self.settings.get(setting, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or not least <= value <= most:
            raise self.fault(f"has the setting {setting}={_short(value)}")
        return value

    def number(self, setting: int, default: float = 0.0) -> float:
        """A number. Raises HkdsrError for another value."""
        value = self.settings.get(setting, default)
        if not isinstance(value, int | float):
            raise self.fault(f"has the setting {setting}={_short(value)}")
        return float(value)

    def numbers(self, setting: int) -> tuple[Number, ...]:
        """A list, which is empty if it is not there. Raises HkdsrError for another value."""
        value = self.settings.get(setting, ())
        if not isinstance(value, tuple):
            raise self.fault(f"has the setting {setting}={_short(value)}")
        return value

    def fault(self, what: str, remedy: str = "export it again, or choose another network") -> HkdsrError:
        """An error about this layer."""
        return HkdsrError(f"{self.file} has a layer {_short(self.name)} ({_short(self.kind)}) that {what}: {remedy}")


def read_layers(content: bytes, file: str) -> list[Layer]:
    """The layers in their order. Raises HkdsrError, naming ``file``, for text that is no such description."""
    lines = [line.split() for line in content.decode("utf-8", "replace").splitlines()]
    lines = [words for words in lines if words]
    if not lines or lines[0] != [MAGIC]:
        raise HkdsrError(f"{file} is no network description of ncnn: export it again, as text")
    counts = [_count(word) for word in lines[1]] if len(lines) > 1 else []
    if len(counts) != 2 or None in counts or not 0 < len(lines) - 2 <= MOST_LAYERS:
        raise HkdsrError(f"{file} does not say how many layers it has, or has too many: copy it again")
    if counts[0] != len(lines) - 2:
        raise HkdsrError(f"{file} announces {counts[0]} layers and has {len(lines) - 2}: copy it again")
    return [_layer(words, number, file) for number, words in enumerate(lines[2:], 3)]


def _layer(words: Sequence[str], number: int, file: str) -> Layer:
    damaged = HkdsrError(f"{file} has a layer that cannot be read, in line {number}: copy it again")
    if len(words) < 4:
        raise damaged
    inputs, outputs = _count(words[2]), _count(words[3])
    if inputs is None or outputs is None or len(words) < 4 + inputs + outputs:
        raise damaged
    blobs, rest = words[4 : 4 + inputs + outputs], words[4 + inputs + outputs :]
    try:
        settings = dict(_setting(word) for word in rest)
    except (ArithmeticError, ValueError) as error:
        raise damaged from error
    return Layer(file, words[0], words[1], tuple(blobs[:inputs]), tuple(blobs[inputs:]), settings)


def _setting(word: str) -> tuple[int, Value]:
    """A setting ``number=value``. Raises ValueError for other words."""
    name, _, text = word.partition("=")
    key = int(name)
    if key <= ARRAY:
        length, *items = text.split(",")
        if int(length) != len(items):
            raise ValueError(word)
        return ARRAY - key, tuple(map(_number, items))
    return key, text.strip('"') if text.startswith('"') else _number(text)


def _number(text: str) -> Number:
    try:
        value: Number = int(text)
    except ValueError:
        value = float(text)
    if not (math.isfinite(value) and abs(value) <= LARGEST):
        raise ValueError(text)
    return value


def _count(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 8 else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
