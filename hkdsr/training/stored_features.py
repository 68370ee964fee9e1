"""The directions along which a teacher's features are kept: found once on training crops, then kept by hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from hkdsr.data.store import ImageStore
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network
from hkdsr.nets.feature_images import KEPT, FeatureImages, principal_directions
from hkdsr.nets.files.load import digest
from hkdsr.settings.degrade import Degrade
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.distiller import feature_taps, traced_outputs
from hkdsr.training.process_group import ProcessGroup
from hkdsr.training.start_crops import CROPS, SEED, SIDE, TOGETHER, start_crops

VERSION = 1
"""Raise it whenever the same crops would give other directions."""


def stored_depths(recipe: DistillRecipe) -> tuple[float, ...]:
    """The depths of the teacher's features that the recipe's method takes from the disk; empty for none."""
    method = recipe.method.resolved(recipe.scale, recipe.init)
    lives = recipe.degrade.live or recipe.exits.teacher_images == "live"
    return method.feature_depths if method.stores_features and not lives else ()


def feature_images(
    network: Network,
    depths: Sequence[float],
    store: ImageStore,
    cache: Path,
    device: torch.device,
    processes: ProcessGroup,
    degrade: Degrade | None = None,
) -> FeatureImages:
    """What makes images of the features of ``network``, which is on ``device``, at relative ``depths``.

    The directions are from ``cache``, or found on training crops by the first of ``processes`` and written there. The
    file's name is a hash of the weights, the images, the depths and this module's version. Raises HkdsrError if the
    network cannot be tapped or the file cannot be written.
    """
    taps = feature_taps(network, depths)
    settings = [digest(network.state_dict()), store.key, taps, KEPT, VERSION, CROPS, SIDE, SEED]
    settings += [asdict(degrade)] if degrade and degrade.live else []
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    file = cache / f"features-{key[:20]}.safetensors"

    def made() -> Path:
        if not file.exists():
            crops = start_crops(store, degrade=degrade).lr
            found = _directions(network, taps, crops.to(device))
            write_atomically(file, save({str(index): of_tap.cpu() for index, of_tap in enumerate(found)}))
        return file

    found = load_file(processes.main_first(made))
    return FeatureImages(taps, [found[str(index)] for index in range(len(taps))], network.scale).to(device)


@torch.no_grad()
def _directions(network: Network, taps: Sequence[int], crops: torch.Tensor) -> list[torch.Tensor]:
    parts = [traced_outputs(network, lr, None, taps).features for lr in crops.split(TOGETHER)]
    return [principal_directions(torch.cat(of_tap)) for of_tap in zip(*parts, strict=True)]
