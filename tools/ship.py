"""Add the network of a run to the package: fp16 weights and a model card written from the run.

``python -m tools.ship runs/small_x2 small_x2 --recipe recipes/small_x2.toml --benchmarks ../shared/data/benchmarks``

The recipe must be that of the run, and the training images must still be where it says: the card describes both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill

from safetensors import safe_open

from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.methods import method_name
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import WEIGHTS, load, save
from hkdsr.report.run import sessions_text
from hkdsr.scoring import SetScore, cost, evaluate
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import lasting_settings
from hkdsr.settings.toml import read_recipe
from hkdsr.training.images import image_pairs, image_store
from hkdsr.training.student import WEIGHTS_FILE

SETS = ("Set5", "Set14", "B100", "Urban100")
WIDTH = 120
LICENCE = "the training images are for research; the same applies to these weights."


def main() -> None:
    """Write ``hkdsr/weights/NAME.safetensors`` and ``NAME.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="of the network; it ends in _x and the scale")
    parser.add_argument("--recipe", type=Path, required=True, help="the run's recipe in the repository")
    parser.add_argument("--benchmarks", type=Path, required=True)
    parser.add_argument("--note", default="", help="a sentence on the images to add to the card")
    arguments = parser.parse_args()
    try:
        ship(arguments.run, arguments.name, arguments.recipe, arguments.benchmarks, arguments.note)
    except HkdsrError as error:
        print(f"ship: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"written: {WEIGHTS / arguments.name}.safetensors and its card")


def ship(run: Path, name: str, recipe_file: Path, benchmarks: Path, note: str) -> None:
    """Score the fp16 network, then write it with its card.

    Raises HkdsrError if the recipe or the images are not those of the run, if the name does not end in the scale, and
    if a file is missing.
    """
    recipe, trained = read_recipe(recipe_file, DistillRecipe), load(run / WEIGHTS_FILE)
    if name.rpartition("_x")[2] != str(trained.scale):
        raise HkdsrError(f"{name} is a x{trained.scale} network: end its name in _x{trained.scale}")
    with safe_open(run / WEIGHTS_FILE, "pt") as file:
        metadata: dict[str, str] = file.metadata()
    settings = json.loads(metadata["recipe"])
    other = [key for key, value in lasting_settings(recipe).items() if settings.get(key) != value]
    if other:
        raise HkdsrError(
            f"{run} was trained with other settings than {recipe_file} ({', '.join(other)}): give the recipe of the run"
        )
    with TemporaryDirectory() as folder:
        save(trained, Path(folder, "shipped.safetensors"), metadata, half=True)
        weights = Path(folder, "shipped.safetensors").read_bytes()
        shipped = load(Path(folder, "shipped.safetensors"))  # the rounded weights are scored
    sessions = f"{sessions_text(run) or 'not recorded'}."
    parts = (training_images(recipe, metadata["data_sha256"]), note, sessions, evaluate(shipped, SETS, benchmarks))
    text = card(name, recipe_file, recipe, shipped, metadata["step"], *parts, hashlib.sha256(weights).hexdigest())
    write_atomically(WEIGHTS / f"{name}.safetensors", weights)
    write_atomically(WEIGHTS / f"{name}.md", text.encode())


def card(
    name: str,
    recipe_file: Path,
    recipe: DistillRecipe,
    network: Network,
    step: str,
    images: str,
    note: str,
    sessions: str,
    scores: list[SetScore],
    sha256: str,
) -> str:
    """The model card; ``images`` describes the training images, ``sessions`` says what trained for how long."""
    training, numbers = recipe.training, cost(network)
    size = ", ".join(f"{key} {value}" for key, value in network.settings.items() if key != "scale")
    rows = [["", *(score.name for score in scores)], ["---"] * (len(scores) + 1)]
    rows.append(["PSNR-Y", *(f"{score.psnr_y:.2f}" for score in scores)])
    rows.append(["SSIM-Y", *(f"{score.ssim_y:.4f}" for score in scores)])
    table = "\n".join(f"  | {' | '.join(row)} |" for row in rows)
    about = (
        f"A x{network.scale} network for photographs: {network.family} ({size}), {numbers.params / 1e3:.1f} K "
        f"parameters, {numbers.macs / 1e9:.2f} G multiply-adds for a 1280x720 output."
    )
    facts = [
        f"**Recipe**: `{recipe_file.as_posix()}`: {Path(recipe.teacher).name} distilled by "
        f"`{method_name(recipe.method)}`. {step} of {training.steps} steps of {training.batch} crops of "
        f"{recipe.data.patch}x{recipe.data.patch} LR pixels, seed {training.seed}, averaged weights of the last step.",
        f"**Sessions**: {sessions}",
        f"**Images**: {images}. None is from the sets below, and nothing was chosen by scores on them. {note}".rstrip(),
        f"**Scores** (`hkdsr evaluate {name} --root benchmarks`): {scores[0].protocol}",
    ]
    ending = [f"**Weights**: fp16, sha256 `{sha256}`", f"**Licence**: {LICENCE}"]
    return f"# {name}\n\n{_wrapped(about)}\n\n{_points(facts)}\n\n{table}\n\n{_points(ending)}\n"


def training_images(recipe: DistillRecipe, key: str) -> str:
    """The number of training images by folder, and their pixels. ``key`` is that of the run's image store.

    Raises HkdsrError if the images of the recipe are others.
    """
    pairs, store = image_pairs(recipe), image_store(recipe)
    if store.key != key:
        raise HkdsrError("the images in data.train are not those of the run: restore them")
    folders = Counter(pair.file.parent.name for pair in pairs)
    pixels = sum(height * width for height, width in store.sizes) / max(recipe.degrade.variants, 1)
    pixels, kind = (pixels, "") if store.has_hr else (pixels / store.scale**2, " of LR")
    return f"{', '.join(f'{folder} {count}' for folder, count in folders.items())}: {pixels / 1e6:.1f} megapixels{kind}"


def _points(texts: list[str]) -> str:
    return "\n".join(_wrapped(f"- {text}", "  ") for text in texts)


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
