"""The web page: its folder, its runtime, and in Chromium the image that it makes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
from browser import chromium, drop, runtime_package, served
from conftest import REPOSITORY
from PIL import Image
from small import refusal, small

from hkdsr.cli import export as command
from hkdsr.data import rgb
from hkdsr.data.embedded import demo_files
from hkdsr.deploy.export import export
from hkdsr.deploy.formats.web import INSTALL, RUNTIME, VERSION, runtime_files
from hkdsr.deploy.grid import cover
from hkdsr.deploy.tiles import reach
from hkdsr.deploy.upscale import upscale
from hkdsr.nets.files.load import load

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("onnxruntime", reason="ONNX is an extra: pip install 'hkdsr[onnx]'")

NETWORK, SCALE = "tiny_x4", 4
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
COVERS = """async (cases) => {
  const { cover } = await import("./upscale.js");
  return cases.map((one) => cover(...one));
}"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(tiny.photographs(tmp_path_factory.mktemp("hr") / "Set5", 1, height=150, width=133).iterdir())


@pytest.fixture(scope="module")
def folder(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page without its runtime."""
    target = tmp_path_factory.mktemp("page") / "tiny.web"
    assert export(load(NETWORK), target, photographs, format="web", allow_weak=True).step <= 1
    return target


def test_the_folder_tells_what_the_page_has_to_know(folder: Path) -> None:
    names = {"index.html", "style.css", "upscale.js", "model.json", "model.onnx"}
    assert {path.name for path in folder.iterdir() if path.is_file()} == names
    about = json.loads((folder / "model.json").read_text())
    assert (about["scale"], about["multiple"], about["sees_all"]) == (SCALE, 1, False)
    assert about["reach"] == reach(load(NETWORK)).pixels
    assert about["sha256"]["model.onnx"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert about["sha256"].keys() == {"model.onnx", *(f"runtime/{name}" for name in RUNTIME)}


def test_another_folder_is_not_written_to(folder: Path, photographs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    said = refusal(lambda: export(load(NETWORK), tmp_path, photographs, format="web", allow_weak=True))
    assert said == f"{tmp_path} is not written, as it holds other files: name a new folder"
    assert (tmp_path / "index.html").read_text() == "mine"
    export(load(NETWORK), folder, photographs, format="web", allow_weak=True)  # again


def test_a_page_without_runtime_says_how_to_get_it(
    photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    command.run([NETWORK, "-f", "web", "--images", str(photographs[0])])
    assert (tmp_path / "tiny_x4_web" / "index.html").exists()
    assert f"lacks its runtime: {INSTALL}" in caplog.text
    assert f"npm install onnxruntime-web@{VERSION}" in (REPOSITORY / "docs/guides/export.md").read_text("utf-8")


def test_other_runtimes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    assert "cannot read" in refusal(lambda: runtime_files(tmp_path))
    (tmp_path / "dist").mkdir()
    for name in RUNTIME:
        (tmp_path / "dist" / name).write_text("another version")
    wanted = [NETWORK, "--runtime", str(tmp_path)]
    said = refusal(lambda: command.run([*wanted, "-f", "web", "-o", str(tmp_path / "out")]))
    assert f"is not that of onnxruntime-web {VERSION}: run 'npm install" in said
    assert not (tmp_path / "out").exists()
    assert "for web pages only" in refusal(lambda: command.run([*wanted, "-o", str(tmp_path / "out.onnx")]))


@dataclass
class Visit:
    """A page that is open, and the addresses that it asked for."""

    page: Page
    address: str
    asked: list[str]

    def said(self, text: str) -> None:
        """Wait until the page says this."""
        self.page.locator("#status", has_text=text).wait_for(timeout=120_000)

    def downloaded(self, target: Path) -> np.ndarray:
        self.said("became")
        with self.page.expect_download() as download:
            self.page.click("#download")
        download.value.save_as(target)
        assert download.value.suggested_filename == "photo_x4.png"
        return rgb(target)


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    for name, content in runtime_files(runtime_package()).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    with served(folder.parent) as address:
        yield f"{address}{folder.name}/"


@pytest.fixture(scope="module")
def start(site: str) -> Iterator[Callable[..., Browser]]:
    with chromium() as starting:
        yield starting


@pytest.fixture(scope="module")
def browser(start: Callable[..., Browser]) -> Browser:
    return start()


@contextmanager
def visited(browser: Browser, site: str) -> Iterator[Visit]:
    context = browser.new_context()
    page = context.new_page()
    visit = Visit(page, site, [])
    page.on("request", lambda request: visit.asked.append(request.url))
    page.goto(site)
    yield visit
    context.close()


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Visit]:
    with visited(browser, site) as opened:
        yield opened


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Larger than one tile, with odd sides."""
    Image.fromarray(rgb(demo_files()[1]["coffee"])[60:203, 150:351]).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_image_is_that_of_upscale(visit: Visit, photo: Path, tmp_path: Path) -> None:
    visit.said("Ready")
    drop(visit.page, photo)
    made = visit.downloaded(tmp_path / "made.png")
    own = upscale(load(NETWORK), rgb(photo))
    assert made.shape == own.shape == (572, 804, 3)
    difference = abs(made.astype(int) - own)
    assert difference.max() <= 1
    assert (difference != 0).mean() < 1e-3
    assert visit.asked
    assert all(address.startswith((visit.address, "blob:", "data:")) for address in visit.asked)


def test_a_gpu_makes_the_same_image(start: Callable[..., Browser], site: str, photo: Path, tmp_path: Path) -> None:
    """By WebGPU, for which Chromium has software where there is no GPU."""
    Image.fromarray(rgb(photo)[:37, :50]).save(photo)
    with visited(start(*SOFTWARE_GPU), site) as visit:
        visit.said("Ready")
        if not visit.page.locator("#status", has_text="the GPU computes").count():
            pytest.skip("this Chromium has no WebGPU")
        drop(visit.page, photo)
        made = visit.downloaded(tmp_path / "made.png")
    assert abs(made.astype(int) - upscale(load(NETWORK), rgb(photo))).max() <= 1
    assert any("asyncify" in address for address in visit.asked)


def test_transparent_parts_become_white(visit: Visit, photo: Path, tmp_path: Path) -> None:
    colour = rgb(photo)[:40, :40]
    alpha = np.repeat(np.array([[255] * 20 + [0] * 20], np.uint8), 40, axis=0)
    Image.fromarray(np.dstack((colour, alpha))).save(photo)
    visit.said("Ready")
    visit.page.set_input_files("#file", photo)
    made = visit.downloaded(tmp_path / "made.png")
    colour[:, 20:] = 255
    assert abs(made.astype(int) - upscale(load(NETWORK), colour)).max() <= 1


def test_work_can_be_cancelled_and_begun_again(visit: Visit, photo: Path, tmp_path: Path) -> None:
    large = photo.with_name("large.png")
    Image.fromarray(rgb(demo_files()[1]["coffee"])).save(large)
    visit.said("Ready")
    drop(visit.page, large)
    visit.said("Tile")
    visit.page.dispatch_event("#cancel", "click")
    visit.said("Cancelled.")
    assert visit.page.locator("#download").is_hidden()
    Image.fromarray(rgb(photo)[:30, :40]).save(photo)
    drop(visit.page, photo)
    assert visit.downloaded(tmp_path / "made.png").shape == (120, 160, 3)


def test_what_is_no_image_is_named(visit: Visit, photo: Path) -> None:
    photo.write_text("no image")
    visit.said("Ready")
    drop(visit.page, photo)
    visit.said("photo.png is not an image that this browser reads: choose a PNG or JPEG file.")


def test_other_servers_cannot_be_asked(visit: Visit) -> None:
    asks = "fetch('http://127.0.0.2:9/').then(() => 'answered', (error) => 'refused')"
    with visit.page.expect_console_message(lambda told: "Content Security Policy" in told.text):
        assert visit.page.evaluate(asks) == "refused"


def test_the_tiles_are_those_of_upscale(visit: Visit) -> None:
    """In JavaScript as in Python, for sizes that the tiles do and do not divide."""
    numbers = random.Random(0)
    cases = [[numbers.randint(1, 90), numbers.randint(1, 90), numbers.randint(1, 40), 7, 1 + n % 4] for n in range(60)]
    tiles = [
        [
            {
                axis: {"start": kept.start, "stop": kept.stop, "first": seen.start, "last": seen.stop}
                for axis, kept, seen in zip(("row", "column"), tile.kept, tile.seen, strict=True)
            }
            for tile in cover((height, width), side, around, multiple)
        ]
        for width, height, side, around, multiple in cases
    ]
    assert visit.page.evaluate(COVERS, cases) == tiles


@pytest.mark.parametrize("name", ["model.onnx", "runtime/ort.wasm.bundle.min.mjs"])
def test_what_is_damaged_or_missing_is_said(name: str, browser: Browser, folder: Path, site: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route(f"**/{name}", lambda route: route.fulfill(body="another file", content_type="text/plain"))
    page.goto(site)
    told = {"model.onnx": "not the file that model.json describes"}.get(name, INSTALL)
    page.locator("#status", has_text=told).wait_for(timeout=60_000)
    context.close()


def test_a_network_that_sees_the_whole_image_says_so(photographs: list[Path], tmp_path: Path) -> None:
    export(small("rcan"), tmp_path / "out", photographs, format="web", allow_weak=True)
    assert json.loads((tmp_path / "out" / "model.json").read_text())["sees_all"] is True
