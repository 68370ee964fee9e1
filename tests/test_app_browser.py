"""The page in Chromium: dropped images, the slider by mouse and keys, downloads, mistakes, small screens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from app_visitor import RefusedError, Visitor, files
from app_visitor import page as opened
from browser import chromium
from PIL import Image
from small import small

from hkdsr.app.guard import FULL
from hkdsr.cli import upscale as command
from hkdsr.data import ImageData, rgb, write_image
from hkdsr.data.embedded import demo_files
from hkdsr.nets.files.load import save

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    (folder / "networks").mkdir()
    save(small("rcan"), folder / "networks" / "slow.safetensors")
    with opened(folder, "--queue", "2") as (found, _):
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as start:
        yield start()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    contexts = []

    def open_page(width: int = 1280, scheme: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # pyright: ignore
        contexts.append(context)
        made = context.new_page()
        made.goto(address)
        made.locator("#card", has_text="small_x2").wait_for(timeout=60_000)
        return made

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(rgb(demo_files()[1]["coffee"])[100:160, 200:290]).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def choose(page: Page, *images: Path) -> None:
    page.locator("#images input[type=file]").set_input_files(images)
    for image in images:
        page.locator("#images", has_text=image.stem).wait_for()


def enlarge(page: Page, *images: Path) -> None:
    choose(page, *images)
    page.click("#enlarge")
    page.locator("#slider img").first.wait_for(timeout=120_000)


def saved(page: Page, target: Path) -> bytes:
    with page.expect_download() as download:
        page.locator("#files a").first.click()
    download.value.save_as(target)
    return target.read_bytes()


def sent_by_command(image: Path, network: str, scale: int) -> bytes:
    command.run([str(image), "-m", network])
    return image.with_name(f"{image.stem}_x{scale}.png").read_bytes()


def handle_at(page: Page) -> float:
    """Where the slider's handle is, as a share of the image."""
    image, handle = (page.locator(what).first.bounding_box() for what in ("#slider img", "#slider [role=slider]"))
    assert image
    assert handle
    return (handle["x"] + handle["width"] / 2 - image["x"]) / image["width"]


def test_an_image_is_enlarged_compared_and_downloaded(visit: Callable[..., Page], photo: Path, tmp_path: Path) -> None:
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    enlarge(page, photo)
    assert saved(page, tmp_path / "saved.png") == sent_by_command(photo, "small_x2", 2)
    assert handle_at(page) == pytest.approx(0.5, abs=0.02)
    box = page.locator("#slider [role=slider]").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] - 150, box["y"] + 40, steps=4)
    page.mouse.up()
    assert handle_at(page) < 0.4
    here = page.url.rstrip("/")
    assert asked
    assert all(one.startswith((here, "data:", "blob:")) for one in asked)


def test_another_network_is_chosen_by_keys_alone(visit: Callable[..., Page], photo: Path) -> None:
    """Choosing the file is the browser's own dialogue; everything else is reached by Tab."""
    page = visit()
    choose(page, photo)
    reach(page, "input[aria-label='Networks'], #networks input")
    page.keyboard.type("tiny")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.locator("#card", has_text="tiny_x4").wait_for()
    reach(page, "#enlarge")
    page.keyboard.press("Enter")
    page.locator("#slider img").first.wait_for(timeout=120_000)
    reach(page, "#right input")
    page.keyboard.press("Control+A")
    page.keyboard.type("tiny_x4")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#right input').value === 'tiny_x4'")
    reach(page, "#slider [role=slider]")
    before = handle_at(page)
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert handle_at(page) == pytest.approx(before - 0.1, abs=0.02)
    page.keyboard.press("End")
    assert handle_at(page) == pytest.approx(1, abs=0.02)
    reach(page, "#files a")


def reach(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(60):
        if page.evaluate("(what) => document.activeElement?.matches(what)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by Tab")


@pytest.mark.parametrize("kind", ["deep", "transparent"])
def test_all_that_a_file_holds_is_kept(visit: Callable[..., Page], kind: str, photo: Path, tmp_path: Path) -> None:
    colour = rgb(photo)
    deep = ImageData(colour.astype(np.uint16) * 257 + 3, profile=b"a profile")
    write_image(photo, deep if kind == "deep" else ImageData(colour, alpha=colour[..., 1]))
    page = visit()
    enlarge(page, photo)
    assert saved(page, tmp_path / "saved.png") == sent_by_command(photo, "small_x2", 2)


def test_mistakes_are_sentences(visit: Callable[..., Page], photo: Path) -> None:
    photo.write_text("no image")
    page = visit()
    choose(page, photo)
    page.click("#enlarge")
    page.get_by_text("photo.png cannot be read (damaged or of an unknown format): give a whole PNG").wait_for()
    assert not page.get_by_text("Traceback").count()


def test_work_is_cancelled_and_begun_again(visit: Callable[..., Page], photo: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.fromarray(np.tile(rgb(photo), (24, 18, 1))).save(large)
    page = visit()
    choose(page, large)
    page.click("#enlarge")
    page.locator("#slider", has_text="large.png").or_(page.locator("#slider .progress-text")).first.wait_for()
    page.click("#cancel")
    page.locator("#result", has_text="Cancelled.").wait_for()
    assert page.locator("#slider img").count() == 0
    assert not page.get_by_text("Error").filter(visible=True).count()
    page.locator("#images button[aria-label='Clear']").click()
    enlarge(page, photo)


def test_two_users_at_once_get_their_own_images(visit: Callable[..., Page], photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(rgb(photo)[::-1, ::-1]).save(other)
    pages = [visit(), visit()]
    for page, image in zip(pages, (photo, other), strict=True):
        choose(page, image)
    for page in pages:
        page.click("#enlarge")
    for page, image in zip(pages, (photo, other), strict=True):
        page.locator("#slider img").first.wait_for(timeout=120_000)
        assert saved(page, tmp_path / "saved.png") == sent_by_command(image, "small_x2", 2)


def test_a_full_queue_is_said_in_the_words_of_the_page(
    visit: Callable[..., Page], address: str, photo: Path, tmp_path: Path
) -> None:
    page = visit()
    choose(page, photo)
    Image.fromarray(np.tile(rgb(photo), (24, 18, 1))).save(tmp_path / "large.png")
    others = [Visitor(address) for _ in range(4)]
    uploads = files(others[0].upload(tmp_path / "large.png"))
    for other in others:
        other.ask("begin", uploads)
    with pytest.raises(RefusedError, match=re.escape(FULL)):
        [other.join("work", uploads, ["slow.safetensors"], []) for other in others]
    page.click("#enlarge")
    page.locator(".toast-body", has_text=FULL).wait_for(timeout=60_000)
    for other in others:
        other.leave()  # which ends its work
    page.click("#enlarge")
    page.locator("#slider img").first.wait_for(timeout=120_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_and_words_can_be_read(
    visit: Callable[..., Page], width: int, scheme: str, photo: Path
) -> None:
    page = visit(width, scheme)
    enlarge(page, photo)
    assert page.evaluate(OVERFLOW) <= 0
    ink, paper = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    assert contrast(ink, paper) > 7


def contrast(one: str, other: str) -> float:
    """By WCAG, of colours as browsers write them."""
    light = []
    for colour in (one, other):
        values = np.array([float(value) for value in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(light) + 0.05) / (min(light) + 0.05)
