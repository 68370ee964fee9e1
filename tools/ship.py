"""Make a network that a run has trained one of the package's: fp16 weights and a card that is written from the run.

``python -m tools.ship runs/small_x2 small_x2 --recipe recipes/small_x2.toml --benchmarks ../shared/data/benchmarks``
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from safetensors import safe_open

from hkdsr.evaluate import SetScore, cost, evaluate_sets
from hkdsr.nets.base import Network
from hkdsr.nets.load import WEIGHTS, load, save
from hkdsr.training.legs import read_legs
from hkdsr.training.student import WEIGHTS_FILE

SETS = ("Set5", "Set14", "B100", "Urban100")
LICENCE = "the training pictures are for research, so are these weights."


def main() -> None:
    """Write ``hkdsr/weights/NAME.safetensors`` and ``NAME.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="ends in _x and the scale")
    parser.add_argument("--recipe", type=Path, required=True, help="the run's recipe in the repository")
    parser.add_argument("--benchmarks", type=Path, required=True)
    arguments = parser.parse_args()
    source, target = arguments.run / WEIGHTS_FILE, WEIGHTS / f"{arguments.name}.safetensors"
    with safe_open(source, "pt") as file:
        told = file.metadata()
    save(load(source), target, told, half=True)
    shipped = load(target)  # what is scored is what is shipped
    scores = evaluate_sets(shipped, SETS, arguments.benchmarks)
    target.with_suffix(".md").write_text(
        card(arguments.name, arguments.recipe, shipped, told, legs(arguments.run), scores, _sha256(target)),
        encoding="utf-8",
    )
    print(f"written: {target} and its card")


def card(
    name: str, recipe: Path, network: Network, told: dict[str, str], legs: str, scores: list[SetScore], sha256: str
) -> str:
    """The model card. ``told`` is the metadata of a run's weights; ``legs`` a sentence on who trained for how long."""
    settings = {key: json.loads(text) for key, text in json.loads(told["recipe"]).items()}
    teacher, method, seed = Path(settings["teacher"]).name, settings["method.name"], settings["training.seed"]
    patch, batch, steps = settings["data.patch"], settings["training.batch"], settings["training.steps"]
    numbers = cost(network)
    size = ", ".join(f"{key} {value}" for key, value in network.settings.items() if key != "scale")
    folders = ", ".join(Path(folder).name for folder in settings["data.train"])
    rows = [["", *(score.name for score in scores)], ["---"] * (len(scores) + 1)]
    rows.append(["PSNR-Y", *(f"{score.psnr_y:.2f}" for score in scores)])
    rows.append(["SSIM-Y", *(f"{score.ssim_y:.4f}" for score in scores)])
    table = "\n".join(f"  | {' | '.join(row)} |" for row in rows)
    return f"""# {name}

A x{network.scale} network for photographs: {network.family} ({size}), {numbers.params / 1e3:.1f} K parameters,
{numbers.macs / 1e9:.2f} G multiply-adds for a 1280x720 output.

- **Recipe**: `{recipe.as_posix()}`: {teacher} distilled by `{method}`. {told["step"]} of {steps} steps of {batch}
  crops of {patch}x{patch} LR pixels, seed {seed}, averaged weights of the last step.
- **Legs**: {legs}
- **Pictures**: {folders}; no benchmark picture, and nothing was chosen by a benchmark.
- **Scores** (`hkdsr evaluate {name} --root benchmarks`): {scores[0].protocol}

{table}

- **Weights**: fp16, sha256 `{sha256}`
- **Licence**: {LICENCE}
"""


def legs(run: Path) -> str:
    """One sentence on the legs of the training in the folder ``run``."""
    found = read_legs(run)
    parts = []
    for leg in found:
        threads = f", {leg['threads']} thread{'s' * (leg['threads'] > 1)}" if "threads" in leg else ""
        end = f"{leg['to_step']} in {leg['seconds']:.0f} s" if "to_step" in leg else "killed"
        parts.append(f"{leg['from_step']} to {end} ({leg['device']}{threads})")
    return f"steps {'; '.join(parts)}." if parts else "not written down."


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
