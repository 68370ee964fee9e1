"""Exported files of every format that were right and had an accident: to their bytes, or to a number in their text."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from hkdsr.deploy.formats import FORMATS, Files
from hkdsr.nets.files.load import build
from tools.fuzz.bytewise import damaged, number, pick

NETWORK = "compact:features=4,convs=1"


def make(random: np.random.Generator, folder: Path) -> Path:
    """Write one network in a format chosen at random, with one of its files damaged or missing."""
    name = list(FORMATS)[pick(random, len(FORMATS))]
    files = dict(exported(name))
    chosen = list(files)[pick(random, len(files))]
    if len(files) > 1 and random.random() < 0.05:
        del files[chosen]
    elif chosen in (".xml", ".param") and random.random() < 0.7:
        files[chosen] = _other_number(files[chosen], random)
    else:
        files[chosen] = damaged(files[chosen], random)
    for suffix, content in files.items():
        (folder / f"model{suffix}").write_bytes(content)
    return folder / f"model{FORMATS[name].suffix}"


@cache
def exported(name: str) -> Files:
    """The files of a small network, made once in a process."""
    return FORMATS[name].write(build(NETWORK, 2).eval().requires_grad_(False))


def _other_number(content: bytes, random: np.random.Generator) -> bytes:
    places = list(re.finditer(rb"-?\d+", content))
    place = places[pick(random, len(places))]
    sign = "-" if random.random() < 0.2 else ""
    return content[: place.start()] + f"{sign}{number(random)}".encode() + content[place.end() :]
