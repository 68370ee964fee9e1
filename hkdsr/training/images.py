"""The training images of a recipe: found, decoded into its cache, and degraded in variants where it asks for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hkdsr.data.sources import Pair, described, find_pairs, spread
from hkdsr.data.store import ImageStore, build_store, default_cache, file_digests
from hkdsr.data.variants import VariantStore
from hkdsr.paths import require_writable
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.distributed import process_group
from hkdsr.training.requirements import require_suitable

logger = logging.getLogger(__name__)


def image_store(recipe: TrainRecipe | DistillRecipe) -> ImageStore:
    """The recipe's training images, decoded into its cache. Raises HkdsrError for images that cannot be used."""
    require_writable(recipe.out, folder=True)
    data = recipe.data
    require_suitable(recipe)
    pairs = image_pairs(recipe)
    store = build_store(pairs, recipe.scale, data.cache, digests=shared_digests)
    pixels = sum(height * width for height, width in store.sizes) / (1 if store.has_hr else recipe.scale**2)
    kind, what = "HR" if store.has_hr else "LR", described(pairs)
    if recipe.degrade.used:
        what = f"{len(pairs)} images, LR degraded by {recipe.degrade.preset}"
    logger.info("training on %s (%s megapixels of %s)", what, _megapixels(pixels), kind)
    small = sum(min(size) // recipe.scale < data.patch for size in store.sizes)
    if small:
        logger.warning(
            "%d of %d images %s smaller than the patch of %d LR pixels and left out",
            small,
            len(store),
            "is" if small == 1 else "are",
            data.patch,
        )
    return with_variants(store, recipe, data.cache or default_cache())


def shared_digests(files: Sequence[Path]) -> dict[Path, str]:
    """The sha256 of each file; every process reads its share of them. HkdsrError for a file that cannot be read."""
    processes = process_group()
    found: dict[Path, str] = {}
    for part in processes.gathered(file_digests(files[processes.rank :: processes.size])):
        found |= part
    # Paths that only this machine has, where the processes do not see the same folders.
    return found | file_digests([file for file in files if file not in found])


def image_pairs(recipe: TrainRecipe | DistillRecipe) -> list[Pair]:
    """The files of the recipe's training images. Raises HkdsrError as ``find_pairs`` does."""
    data = recipe.data
    pairs = spread(find_pairs(data.train, recipe.scale, data.lr, data.lr_only), data.share)
    if recipe.degrade.used and not data.lr_only:
        return [Pair(pair.name, pair.hr) for pair in pairs]  # LR files beside HR are not used
    return pairs


def with_variants(store: ImageStore, recipe: TrainRecipe | DistillRecipe, folder: Path) -> ImageStore:
    """``store`` with the degraded variants that the recipe asks for, if any, kept in ``folder``."""
    return VariantStore(store, recipe.degrade, folder) if recipe.degrade.variants else store


def _megapixels(pixels: float) -> str:
    """One decimal, and for a few small images as many as tell them from nothing."""
    return f"{pixels / 1e6:.1f}" if pixels >= 1e5 else f"{pixels / 1e6:.2g}"
