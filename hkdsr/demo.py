"""The demo: the main job on photographs that come inside two Python packages, ending in a table and a page.

One teacher, one small student trained three times: plainly, by HKDSR for as many steps, and plainly again for as many
seconds as HKDSR took. The scoring images are never trained on; the curves show scores on them, but nothing is
chosen by these: the last averaged weights are reported.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from hkdsr.cli import output
from hkdsr.data import imresize, mod_crop, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.methods import Plain
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load
from hkdsr.report import Comparison, Curve, Report, Row, write_report
from hkdsr.scoring import SetScore, cost, evaluate_set, milliseconds
from hkdsr.scoring.inference import super_resolve
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training
from hkdsr.settings.resume import flat_settings
from hkdsr.training.log import read_log
from hkdsr.training.run import distill
from hkdsr.training.student import TrainingResult

TEACHER = "compact_x2"
STUDENT = "compact:features=12,convs=4"
TIMED_LR = (180, 320)
SMOOTHED = 5  # logged losses averaged into one point of the curve

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """One training of the student: its label in table and page, and the run."""

    label: str
    run: TrainingResult
    folder: Path


def demo_recipe(folder: Path, steps: int) -> DistillRecipe:
    """The demo's recipe; everything it writes goes below ``folder``."""
    return DistillRecipe(
        teacher=TEACHER,
        scale=2,
        student=STUDENT,
        out=folder / "hkdsr",
        data=Data(train=(folder / "train",), val=folder / "scoring", cache=folder / "cache", patch=32),
        training=Training(
            steps=steps,
            batch=8,
            lr=1e-3,
            milestones=(0.5, 0.75, 0.9),
            ema=0.99,
            log_every=10,
            validate_every=max(steps // 10, 1),
            save_every=max(steps // 4, 1),
        ),
        exits=ExitSettings(stage1_steps=max(steps // 8, 1)),
    )


def demo(folder: Path = Path("runs/demo"), steps: int = 700) -> Path:
    """Run the demo in ``folder``; returns the report's path. Killed and started again, it goes on where it was.

    Raises HkdsrError if scikit-image or scikit-learn is missing or the disk is full.
    """
    _copy_images(folder)
    recipe = demo_recipe(folder, steps)
    scoring = folder / "scoring"
    plain_recipe = dataclasses.replace(recipe, method=Plain(), out=folder / "plain")
    plain = Trained("plain, equal steps", distill(plain_recipe), plain_recipe.out)
    ours = Trained("HKDSR", distill(recipe), recipe.out)
    longer_steps = max(round(steps * _pace(ours) / _pace(plain)), 1)
    longer_recipe = dataclasses.replace(
        plain_recipe,
        out=folder / "plain-longer",
        training=dataclasses.replace(recipe.training, steps=longer_steps),
    )
    longer = Trained("plain, equal seconds", distill(longer_recipe), longer_recipe.out)

    teacher = load(TEACHER)
    scores = {
        "bicubic": evaluate_set(None, scoring, recipe.scale),
        **{t.label: evaluate_set(t.run.network, scoring, recipe.scale) for t in (plain, longer, ours)},
        "teacher": evaluate_set(teacher, scoring, recipe.scale),
    }
    rows = [
        _row("bicubic", scores["bicubic"]),
        *(_row(t.label, scores[t.label], t.run.network, t.run) for t in (plain, longer, ours)),
        _row("teacher", scores["teacher"], teacher),
    ]
    for line in table(rows):
        logger.info(line)
    networks = {t.label: t.run.network for t in (plain, longer, ours)} | {"teacher": teacher}
    report = folder / "report.html"
    write_report(
        Report(
            title="A small network distilled by HKDSR",
            subtitle=f"{TEACHER} into {STUDENT}, trained on five photographs, scored on three others",
            protocol=scores["bicubic"].protocol,
            rows=rows,
            curves=[curve for t in (plain, longer, ours) for curve in _curves(t)],
            comparisons=[_comparison(path, networks, recipe.scale) for path in sorted(scoring.iterdir())],
            recipe_text="\n".join(f"{name} = {value}" for name, value in flat_settings(recipe).items()),
            compared=(plain.label, ours.label),
        ),
        report,
    )
    logger.info("images, curves and this table: %s", report)
    return report


def table(rows: list[Row]) -> list[str]:
    """The headline numbers as lines of text."""
    head = f"{'':<22}{'params':>9}{'mult-adds':>11}{'ms':>8}{'PSNR-Y':>9}{'SSIM-Y':>9}{'steps':>8}{'seconds':>9}"
    lines = [head]
    for row in rows:
        cells = [
            f"{row.name:<22}",
            f"{row.params / 1e3:>8.1f}K" if row.params else f"{'':>9}",
            f"{row.macs / 1e9:>10.2f}G" if row.macs else f"{'':>11}",
            f"{row.milliseconds:>8.1f}" if row.milliseconds else f"{'':>8}",
            f"{row.psnr:>9.2f}{row.ssim:>9.4f}",
            f"{row.steps:>8}{row.seconds:>9.0f}" if row.steps else "",
        ]
        lines.append("".join(cells))
    return [
        *lines,
        "mult-adds at 1280x720 output; ms an image of 640x360 output, and seconds of training, on this machine",
    ]


def main() -> None:
    """Entry point of ``make demo``."""
    try:
        output.configure(sys.argv[1:])
        demo()
    except HkdsrError as error:
        output.complain(f"demo: {error}")
        sys.exit(2)


def _copy_images(folder: Path) -> None:
    for part, files in zip(("train", "scoring"), demo_files(), strict=True):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name, path in files.items():
            shutil.copyfile(path, folder / part / f"{name}{path.suffix}")


def _pace(trained: Trained) -> float:
    """Seconds a step, of the fastest logged stretch: what else the machine does at the time should not count."""
    points = [(line["step"], line["seconds"]) for line in read_log(trained.folder) if "losses" in line]
    stretches = zip([(0, 0.0), *points], points, strict=False)
    return min((after[1] - before[1]) / (after[0] - before[0]) for before, after in stretches)


def _row(name: str, score: SetScore, network: Network | None = None, run: TrainingResult | None = None) -> Row:
    costs = cost(network) if network else None
    return Row(
        name,
        params=costs.params if costs else None,
        macs=costs.macs if costs else None,
        milliseconds=milliseconds(network, TIMED_LR) if network else None,
        psnr=score.psnr_y,
        ssim=score.ssim_y,
        steps=run.steps if run else None,
        seconds=run.seconds if run else None,
    )


def _curves(trained: Trained) -> list[Curve]:
    lines = read_log(trained.folder)
    losses = [(line["step"], line["seconds"], line["losses"]["pixel"]) for line in lines if "losses" in line]
    scores = [(line["step"], line["seconds"], line["val_psnr_y"]) for line in lines if "val_psnr_y" in line]
    groups = [losses[at : at + SMOOTHED] for at in range(0, len(losses), SMOOTHED)]
    smooth = [(group[-1][0], group[-1][1], sum(value for *_, value in group) / len(group)) for group in groups]
    return [
        Curve(trained.label, scores, "PSNR-Y on the scoring images (dB)"),
        Curve(trained.label, smooth, "L1 to the ground truth"),
    ]


def _comparison(path: Path, networks: dict[str, Network], scale: int) -> Comparison:
    hr = mod_crop(rgb(path), scale)
    lr = imresize(hr, 1 / scale)
    images = {"bicubic": imresize(lr, float(scale))}
    images |= {label: super_resolve(network, lr) for label, network in networks.items()}
    return Comparison(path.stem, images, hr)


if __name__ == "__main__":
    main()
