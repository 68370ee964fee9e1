"""Running an OpenVINO file in bfloat16, on processors that have it, and what that loses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hkdsr.data import list_images, rgb
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.openvino import OpenVinoNetwork
from hkdsr.paths import is_folder, matching_paths, user_path
from hkdsr.scoring.inference import super_resolve

logger = logging.getLogger(__name__)

SIDE = 256
"""LR pixels of the part of an image that is enlarged both ways."""


def fast_network(file: str | Path, images: Sequence[str | Path]) -> OpenVinoNetwork:
    """The network of an OpenVINO ``file`` in bfloat16. What that changes in the first of ``images`` is logged.

    ``images`` may be folders and patterns too. Raises HkdsrError for another file, a processor without bfloat16, and
    images that are missing.
    """
    path = user_path(file)
    if path.suffix.lower() != ".xml":
        raise HkdsrError(f"{file} is no OpenVINO file, so it has no faster numbers: export it with -f openvino")
    fast, exact = OpenVinoNetwork.from_file(path, fast=True), OpenVinoNetwork.from_file(path)
    first = matching_paths(images)[0]
    first = list_images(first)[0] if is_folder(first) else first
    part = rgb(first)[:SIDE, :SIDE]
    difference = np.abs(super_resolve(fast, part).astype(int) - super_resolve(exact, part))
    logger.warning(
        "in bfloat16 %.1f %% of the values of %s differ from float32, by at most %d of 255",
        100 * float(np.mean(difference > 0)),
        first.name,
        int(difference.max()),
    )
    return fast
