"""Check the lowest versions in pyproject.toml: install exactly those in a fresh environment and use the package.

    python tools/minimum_versions.py [FOLDER]

FOLDER (by default a temporary one, deleted afterwards) gets the virtual environment, which takes several gigabytes.
Run it with the lowest Python version that pyproject.toml allows, and again after raising or adding a dependency. It
exits with an error if a package cannot be installed, or if the package does not work with it.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
EXTRAS = ("demo", "spandrel", "onnx")
SMOKE = "--smoke"


def main() -> None:
    if sys.argv[1:2] == [SMOKE]:
        smoke(Path(sys.argv[2]))
        return
    requirements = lowest()
    print("\n".join(requirements), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if sys.argv[1:] else temporary)
        environment, work = folder / "environment", folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        for packages in (requirements, ["--no-deps", str(REPOSITORY)]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        # -I: neither this folder nor PYTHONPATH may lend the package.
        subprocess.run([python, "-I", Path(__file__).resolve(), SMOKE, work], cwd=work, check=True)


def lowest() -> list[str]:
    """The package's requirements and those of its extras, with "at least" turned into "exactly"."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    for line in requirements:
        if line.count(">=") != 1:
            sys.exit(f"pyproject.toml gives no lowest version in '{line}': write it as name>=version")
    return sorted({line.replace(">=", "==") for line in requirements})


def smoke(folder: Path) -> None:
    """Use the installed package for what it is for: load, upscale, distil, evaluate, export; in ``folder``."""
    import numpy as np

    import hkdsr
    from hkdsr.data.embedded import demo_files

    assert not Path(hkdsr.__file__).is_relative_to(REPOSITORY), f"{hkdsr.__file__} is not the installed package"
    for name, files in zip(("train", "scoring"), demo_files(), strict=True):
        (folder / name).mkdir(exist_ok=True)
        for path in files.values():
            shutil.copy(path, folder / name)

    large = hkdsr.upscale(hkdsr.load("small_x2"), np.zeros((24, 32, 3), np.uint8))
    assert large.shape == (48, 64, 3)
    command = [sys.executable, "-I", "-m", "hkdsr"]
    subprocess.run([*command, "distill", "--help"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "upscale", "scoring/chelsea.png", "-o", "chelsea_x2.png"], cwd=folder, check=True)

    recipe = hkdsr.DistillRecipe(
        teacher="compact_x2",
        student="compact:features=8,convs=4",
        out=folder / "run",
        data=hkdsr.Data(train=(folder / "train",), cache=folder / "cache", patch=24),
        training=hkdsr.Training(steps=3, batch=2, ema=0.5, device="cpu"),
        exits=hkdsr.ExitSettings(stage1_steps=3, allow_weak=True),
    )
    student = hkdsr.distill(recipe).network
    (score,) = hkdsr.evaluate(student, "scoring", root=folder)
    assert math.isfinite(score.psnr_y)
    parity = hkdsr.export(hkdsr.load("compact_x2"), folder / "compact_x2.onnx")
    assert parity.kept

    names = [line.partition("==")[0] for line in lowest()]
    print(f"Python {sys.version.split()[0]}:", ", ".join(f"{name} {version(name)}" for name in names))
    print(f"3 steps of HKDSR: {score.psnr_y:.2f} dB; ONNX: {parity.sentence()}")


if __name__ == "__main__":
    main()
