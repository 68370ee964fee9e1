"""Add the network of a run to the package: fp16 weights and a model card written from the run.

``python -m tools.ship runs/small_x2 small_x2 --recipe recipes/small_x2.toml --benchmarks ../shared/data/benchmarks``

The recipe must be that of the run, and the training images must still be where it says: the card describes both. Where
there was no HR, the teacher must be there too: the card then has the likeness to its images beside the scores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
from hkdsr.settings.older import of_today
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.settings.resume import lasting_settings
from hkdsr.settings.toml import read_recipe
from hkdsr.training.images import image_pairs, image_store
from hkdsr.training.student import WEIGHTS_FILE

SETS = ("Set5", "Set14", "B100", "Urban100")
WIDTH = 120
LICENCE = "the training images are for research; the same applies to these weights."


@dataclass(frozen=True)
class Facts:
    """What a card says beside the recipe.

    ``subject``: what the network is for; ``step``: how long it was trained; ``images``: what on; ``sessions``: by what,
    for how long; ``note``: a sentence on the images; ``scores`` to HR and, with ``likeness``, to the teacher's images;
    ``sha256`` of the weights; ``teacher``: its files by name with their hashes; ``licence``: text of its licence.
    """

    subject: str
    step: str
    images: str
    sessions: str
    note: str
    scores: list[SetScore]
    likeness: list[SetScore]
    sha256: str
    teacher: dict[str, str]
    licence: str


def main() -> None:
    """Write ``hkdsr/weights/NAME.safetensors`` and ``NAME.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="of the network; it ends in _x and the scale")
    parser.add_argument("--recipe", type=Path, required=True, help="the run's recipe in the repository")
    parser.add_argument("--benchmarks", type=Path, required=True)
    parser.add_argument("--note", default="", help="a sentence on the images to add to the card")
    parser.add_argument("--subject", default="photographs", help="what the network is for")
    parser.add_argument("--licence", type=Path, help="a file with the licence of the teacher, to add to the card")
    arguments = parser.parse_args()
    try:
        licence = arguments.licence.read_text(encoding="utf-8") if arguments.licence else ""
        told = (arguments.note, arguments.subject, licence)
        ship(arguments.run, arguments.name, arguments.recipe, arguments.benchmarks, *told)
    except HkdsrError as error:
        print(f"ship: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"written: {WEIGHTS / arguments.name}.safetensors and its card")


def ship(
    run: Path,
    name: str,
    recipe_file: Path,
    benchmarks: Path,
    note: str = "",
    subject: str = "photographs",
    licence: str = "",
) -> None:
    """Score the fp16 network, then write it with its card.

    Raises HkdsrError if the recipe or the images are not those of the run, if the name does not end in the scale, and
    if a file is missing.
    """
    recipe, trained = read_recipe(recipe_file, DistillRecipe), load(run / WEIGHTS_FILE)
    if name.rpartition("_x")[2] != str(trained.scale):
        raise HkdsrError(f"{name} is a x{trained.scale} network: end its name in _x{trained.scale}")
    with safe_open(run / WEIGHTS_FILE, "pt") as file:
        metadata: dict[str, str] = file.metadata()
    settings = of_today(json.loads(metadata["recipe"]))
    other = [key for key, value in lasting_settings(recipe).items() if settings.get(key) != value]
    if other:
        raise HkdsrError(
            f"{run} was trained with other settings than {recipe_file} ({', '.join(other)}): give the recipe of the run"
        )
    with TemporaryDirectory() as folder:
        save(trained, Path(folder, "shipped.safetensors"), metadata, half=True)
        weights = Path(folder, "shipped.safetensors").read_bytes()
        shipped = load(Path(folder, "shipped.safetensors"))  # the rounded weights are scored
    facts = Facts(
        subject=subject,
        step=metadata["step"],
        images=training_images(recipe, metadata["data_sha256"]),
        sessions=f"{sessions_text(run) or 'not recorded'}.",
        note=note,
        scores=evaluate(shipped, SETS, benchmarks),
        likeness=evaluate(shipped, SETS, benchmarks, against=load(recipe.teacher)) if recipe.data.lr_only else [],
        sha256=hashlib.sha256(weights).hexdigest(),
        teacher=hashes(recipe.teacher),
        licence=licence,
    )
    write_atomically(WEIGHTS / f"{name}.safetensors", weights)
    write_atomically(WEIGHTS / f"{name}.md", card(name, recipe_file, recipe, shipped, facts).encode())


def card(name: str, recipe_file: Path, recipe: DistillRecipe, network: Network, facts: Facts) -> str:
    """The model card."""
    training, numbers, scores = recipe.training, cost(network), facts.scores
    size = ", ".join(f"{key} {value}" for key, value in network.settings.items() if key != "scale")
    rows = [["", *(score.name for score in scores)], ["---"] * (len(scores) + 1), *_rows(scores, "")]
    rows += _rows(facts.likeness, " to the teacher") if facts.likeness else []
    table = "\n".join(f"  | {' | '.join(row)} |" for row in rows)
    about = (
        f"A x{network.scale} network for {facts.subject}: {network.family} ({size}), {numbers.params / 1e3:.1f} K "
        f"parameters, {numbers.macs / 1e9:.2f} G multiply-adds for a 1280x720 output."
    )
    points = [
        f"**Recipe**: `{recipe_file.as_posix()}`: {Path(recipe.teacher).name} distilled by "
        f"`{method_name(recipe.method)}`. {facts.step} of {training.steps} steps of {training.batch} crops of "
        f"{recipe.data.patch}x{recipe.data.patch} LR pixels, seed {training.seed}, averaged weights of the last step.",
        f"**Sessions**: {facts.sessions}",
        f"**Images**: {facts.images}. None is from the sets below, and nothing was chosen by scores on them. "
        f"{facts.note}".rstrip(),
        f"**Scores** (`hkdsr evaluate {name} --root benchmarks`): {scores[0].protocol}",
    ]
    if facts.likeness:
        points[-1] += ". The teacher changes images: what counts is the likeness to its images, not that to HR"
    ending = [
        f"**Weights**: fp16, sha256 `{facts.sha256}`",
        f"**Teacher**: {'; '.join(f'{file}, sha256 `{sha256}`' for file, sha256 in facts.teacher.items())}",
        f"**Licence**: {LICENCE}" + (" That of the teacher is below." if facts.licence else ""),
    ]
    licence = f"\n## Licence of the teacher\n\n```text\n{facts.licence.strip()}\n```\n" if facts.licence else ""
    return f"# {name}\n\n{_wrapped(about)}\n\n{_points(points)}\n\n{table}\n\n{_points(ending)}\n{licence}"


def hashes(teacher: str) -> dict[str, str]:
    """SHA-256 of the files of a teacher by their names: ncnn and OpenVINO have a second one for the weights."""
    file = Path(teacher)
    files = [file, *(file.with_suffix(".bin") for suffix in (".param", ".xml") if file.suffix == suffix)]
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


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


def _rows(scores: Sequence[SetScore], to: str) -> list[list[str]]:
    return [
        [f"PSNR-Y{to}", *(f"{score.psnr_y:.2f}" for score in scores)],
        [f"SSIM-Y{to}", *(f"{score.ssim_y:.4f}" for score in scores)],
    ]


def _points(texts: list[str]) -> str:
    return "\n".join(_wrapped(f"- {text}", "  ") for text in texts)


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
