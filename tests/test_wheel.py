"""The built wheel: every file that the package reads is inside, and it works away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from browser import chromium
from PIL import Image

from benchmarks.page_visitor import page
from hkdsr import __version__
from hkdsr.data.embedded import demo_files

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "hkdsr"
DATA = (".safetensors", ".onnx", ".md", ".toml", ".html", ".css", ".js", ".typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run("hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel."""
    folder = tmp_path_factory.mktemp("site")
    run("pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def run(module: str, *arguments: str, cwd: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path for path in PACKAGE.rglob("*") if path.suffix in (".py", *DATA)}
    assert {suffix for suffix in DATA if any(path.suffix == suffix for path in sources)} == set(DATA)
    about = f"hkdsr-{__version__}.dist-info"
    inside = {name for name in names if not name.startswith(about)}
    assert inside == {path.relative_to(REPOSITORY).as_posix() for path in sources}
    assert f"{about}/licenses/LICENSE" in names


def test_metadata_names_version_licence_and_dependencies(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    lines = archive.read(f"hkdsr-{__version__}.dist-info/METADATA").decode().splitlines()
    assert {f"Version: {__version__}", "License-Expression: Apache-2.0"} <= set(lines)
    assert any(line.startswith("Requires-Dist: torch>=") for line in lines)


def test_the_installed_command_upscales_elsewhere(site: Path, tmp_path: Path) -> None:
    code = tmp_path / "where.py"
    code.write_text("import hkdsr\nprint(hkdsr.__file__)\n")
    assert Path(run("where", cwd=tmp_path, path=site).strip()).is_relative_to(site)
    with Image.open(demo_files()[1]["chelsea"]) as photo:
        photo.crop((100, 50, 160, 90)).save(tmp_path / "photo.png")
    run("hkdsr", "upscale", "photo.png", cwd=tmp_path, path=site)
    with Image.open(tmp_path / "photo_x2.png") as large:
        assert large.size == (120, 80)


def test_the_installed_page_opens_and_asks_nobody_else(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="the page is an extra: pip install 'hkdsr[app]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(site))
    asked: list[str] = []
    with chromium() as start, page(tmp_path) as (address, _):
        shown = start().new_page()
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto(address)
        shown.locator("#card", has_text="small_x2").wait_for(timeout=60_000)
        shown.get_by_role("tab", name="Runs").click()
        shown.get_by_text(f"There is no training in {tmp_path / 'runs'} yet").wait_for(timeout=60_000)
    assert asked
    assert all(one.startswith((address, "data:", "blob:")) for one in asked)
