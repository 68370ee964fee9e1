"""The tabs Runs and Distil in Chromium: a run watched while it trains, a distillation started, stopped and resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("gradio", reason="the page is an extra: pip install 'hkdsr[app]'")

import tiny
import tiny_job
from browser import chromium

from hkdsr.app.page import served
from hkdsr.methods import Logits
from hkdsr.settings.app import AppSettings
from hkdsr.training.run import distill

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SECOND = 1000
PATIENCE = 120 * SECOND
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BOARD = "# rivals\n\n![drawn](leaderboard.svg)\n\n| row | Set5 |\n| --- | ---: |\n| FAKD | 36.385 |\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in: images, a teacher, a recipe, a finished run and a study."""
    folder = tmp_path_factory.mktemp("work")
    recipe = tiny.data(tiny.recipe(folder, Logits(), validate_every=6), val=folder / "images", val_images=1)
    distill(tiny.replaced(recipe, out=folder / "runs" / "done"))
    study = folder / "runs" / "study"
    study.mkdir()
    (study / "leaderboard.md").write_text(BOARD)
    (study / "leaderboard.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='60' height='40'/>")
    val, often = f'val = "{folder / "images"}"', "log_every = 5\nvalidate_every = 50"
    tiny_job.written(folder, "long.toml", val, f"steps = 1000000\n{often}")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as start:
        yield start()


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(AppSettings(networks=folder, runs=folder / "runs", images=folder, port=0)) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.goto(address)
    yield made
    context.close()


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def choose(page: Page, field: str, option: str) -> None:
    entry = page.locator(f"{field} input")
    entry.click()
    choices = page.locator(f"[id='{entry.get_attribute('aria-controls')}']")
    choices.get_by_role("option", name=option, exact=True).click()


def row(page: Page, name: str) -> str:
    found = page.locator("table.runs tr", has=page.get_by_role("button", name=name, exact=True))
    found.wait_for(timeout=PATIENCE)
    return found.inner_text()


def fill(page: Page, field: str, text: str) -> None:
    page.locator(f"{field} textarea, {field} input").first.fill(text)


def value(page: Page, field: str, part: str) -> str:
    """The text of a field once it has this part."""
    page.wait_for_function(
        "([field, part]) => document.querySelector(`${field} textarea`)?.value.includes(part)",
        arg=[field, part],
        timeout=PATIENCE,
    )
    return page.locator(f"{field} textarea").input_value()


def test_a_distillation_is_checked_started_watched_stopped_and_resumed(page: Page, folder: Path) -> None:
    tab(page, "Distil")
    fill(page, "#name", "mine")
    choose(page, "#toml", "long.toml")
    assert value(page, "#command", "mine") == f"hkdsr distill {folder}/long.toml --out={folder}/runs/mine"
    page.click("#check")
    assert "training images: 3 images" in value(page, "#said", "No mistake was found")
    assert not (folder / "runs" / "mine").exists()
    page.click("#start")
    value(page, "#log", "training on 3 images")

    tab(page, "Runs")
    page.locator("table.runs tr", has_text="mine").filter(has_text="running").filter(has_text="steps/s").wait_for(
        timeout=PATIENCE
    )
    assert row(page, "mine").count("left") == 0
    page.get_by_role("button", name="mine", exact=True).click()
    page.locator("#kept img[alt='00.png: teacher']").wait_for(timeout=PATIENCE)
    first = page.locator("#kept img[alt*='student']").first.get_attribute("alt")
    # A newer validation comes by itself.
    page.wait_for_function(
        "first => document.querySelector(\"#kept img[alt*='student']\")?.alt !== first", arg=first, timeout=PATIENCE
    )
    assert page.locator("#charts svg[aria-label*='PSNR-Y']").count() == 1
    assert page.locator("#charts svg[aria-label='Loss term: pixel over steps'] polyline").count() == 1

    tab(page, "Distil")
    page.click("#stop")
    value(page, "#log", "run the same command again to continue")
    page.locator("#state", has_text="stopped").wait_for(timeout=PATIENCE)
    stopped_at = tiny.state(folder / "runs" / "mine")["step"]
    page.reload()  # the page has forgotten what was chosen; the run is there
    tab(page, "Distil")
    page.locator("#state", has_text="stopped").wait_for(timeout=PATIENCE)
    page.click("#resume")
    value(page, "#log", f"continuing at step {stopped_at} in")
    page.locator("#state", has_text="running").wait_for(timeout=PATIENCE)
    page.click("#stop")
    page.locator("#state", has_text="stopped").wait_for(timeout=PATIENCE)
    assert tiny.state(folder / "runs" / "mine")["step"] >= stopped_at


def test_a_finished_run_its_images_recipe_and_a_study(page: Page, folder: Path) -> None:
    tab(page, "Runs")
    assert "12 of 12" in row(page, "done")
    choose(page, "#run", "done")
    page.locator("#kept img[alt='00.png: student, step 12']").wait_for(timeout=PATIENCE)
    page.locator("#kept img[alt='00.png: student, step 6']").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Recipe").click()
    value(page, "#recipe", 'method.name = "logits"')
    page.locator("#leaderboard td", has_text="36.385").wait_for(timeout=PATIENCE)
    assert page.locator("#board img.leaders").count() == 1
    (folder / "runs" / "study" / "leaderboard.md").write_text(BOARD.replace("36.385", "36.999"))
    page.locator("#leaderboard td", has_text="36.999").wait_for(timeout=PATIENCE)


def test_two_runs_side_by_side(page: Page, folder: Path) -> None:
    other = folder / "runs" / "other"
    other.mkdir(exist_ok=True)
    for name in ("run.json", "log.jsonl"):
        (other / name).write_bytes((folder / "runs" / "done" / name).read_bytes())
    said = json.loads((other / "run.json").read_text())
    said["recipe"]["training.lr"] = "0.5"
    (other / "run.json").write_text(json.dumps(said))
    tab(page, "Runs")
    row(page, "other")
    choose(page, "#run", "done")
    choose(page, "#run", "other")
    page.locator("#charts polyline.c1").first.wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Recipe").click()
    page.locator("#compared tr", has_text="training.lr").filter(has_text="0.5").wait_for(timeout=PATIENCE)


def test_mistakes_are_sentences(page: Page, folder: Path) -> None:
    tab(page, "Distil")
    fill(page, "#name", "../outside")
    page.click("#start")
    page.locator(".toast-body", has_text="The name of the run is").wait_for(timeout=PATIENCE)
    fill(page, "#name", "new")
    page.click("#check")
    page.locator(".toast-body", has_text="o folder of training images is given").wait_for(timeout=PATIENCE)
    fill(page, "#teacher", "/etc/passwd")
    page.keyboard.press("Enter")
    assert "outside of the folders" in value(page, "#command", "/etc/passwd")
    page.click("#start")
    page.locator(".toast-body", has_text="/etc/passwd is outside").wait_for(timeout=PATIENCE)
    assert not (folder / "runs" / "new").exists()
    assert page.get_by_text("Traceback").count() == 0


def test_only_the_tab_that_is_shown_asks(page: Page) -> None:
    asked: list[str] = []
    page.locator("#enlarge").wait_for(timeout=PATIENCE)
    page.wait_for_timeout(3 * SECOND)
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5 * SECOND)
    assert asked == []
    tab(page, "Runs")
    row(page, "done")
    page.wait_for_timeout(5 * SECOND)
    assert asked
    assert all(one.startswith(page.url.rstrip("/")) for one in asked)


@pytest.mark.parametrize("width", [390, 1280])
def test_both_tabs_fit(width: int, page: Page) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    tab(page, "Runs")
    row(page, "done")
    page.locator("#charts svg").first.wait_for(timeout=PATIENCE)
    assert page.evaluate(WIDE) <= 0
    tab(page, "Distil")
    page.locator("#command").wait_for()
    assert page.evaluate(WIDE) <= 0
