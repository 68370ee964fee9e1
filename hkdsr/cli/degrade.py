"""``hkdsr degrade``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show_written
from hkdsr.errors import HkdsrError
from hkdsr.settings.degrade import Degrade


@dataclass(frozen=True)
class Preview:
    """Show 64 samples of a degradation as training would draw them: each image beside its degraded LR image."""

    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE-OR-FOLDER ...")]
    """Images or folders of images: HR, or LR with --lr-only."""
    preview: Path = Path("degraded.png")
    """The image file to write."""
    recipe: Path | None = None
    """Take scale, lr_only and all settings of [degrade] from this recipe."""
    scale: int = 4
    """Factor between the sides of LR and HR images."""
    lr_only: bool = False
    """The images are LR, and are degraded at the same size."""
    seed: int = 0
    """Another seed shows other samples."""
    degrade: Degrade = field(default_factory=lambda: Degrade("real-esrgan"))
    """The degradation."""


def run(arguments: list[str]) -> None:
    """Write the page. Raises HkdsrError for a wrong recipe, and as ``write_samples`` does."""
    settings = tyro.cli(Preview, prog="hkdsr degrade", args=arguments)
    from hkdsr.report.degraded import write_samples
    from hkdsr.settings.checks import require_range
    from hkdsr.settings.recipe import DistillRecipe
    from hkdsr.settings.toml import read_recipe

    degrade, scale, lr_only = settings.degrade, settings.scale, settings.lr_only
    if settings.recipe is not None:
        recipe = read_recipe(settings.recipe, DistillRecipe)
        degrade, scale, lr_only = recipe.degrade, recipe.scale, recipe.data.lr_only
    if not degrade.used:
        raise HkdsrError("degrade.preset is 'none', so there is nothing to show: set it to real-esrgan or bsrgan")
    require_range("--scale", scale, 1, 4)
    require_range("--seed", settings.seed, 0, 2**31 - 1)
    write_samples(settings.images, settings.preview, degrade, 1 if lr_only else scale, settings.seed)
    show_written(settings.preview)
