"""The page is parsed as by a browser: it has exactly the given content and loads nothing from elsewhere."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from limited import files_up_to
from PIL import Image

from hkdsr.data import imresize, mod_crop, rgb
from hkdsr.errors import HkdsrError
from hkdsr.report import Comparison, Curve, Report, Row, write_report
from hkdsr.report.chart import line_chart, linear_axis, value_axis
from hkdsr.report.page import render
from hkdsr.report.pixels import most_different_crops, pack
from hkdsr.report.table import MISSING

HOSTILE = """<script>alert("1")</script> & 'so' on"""


class Page(HTMLParser):
    """Every start tag with its attributes, and the text of each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    return np.asarray(Image.open(BytesIO(b64decode(data))).convert("RGB"))


@pytest.fixture(scope="module")
def butterfly(shared: Path) -> Comparison:
    """A real image; the bicubic enlargements of x2 and x4 stand in for two students."""
    hr = mod_crop(rgb(shared / "benchmarks" / "Set5" / "HR" / "butterfly.png"), 4)
    return Comparison("butterfly", {f"from x{s}": imresize(imresize(hr, 1 / s), s) for s in (4, 2)}, hr)


@pytest.fixture(scope="module")
def report(butterfly: Comparison) -> Report:
    return Report(
        title="RCAN to Compact",
        subtitle="a sentence below the title",
        protocol="Y of BT.601, 4 pixels cropped",
        rows=[
            Row("teacher", 15_592_379, 917_600_000_000, 842.4, 32.6388, 0.90021, note="published"),
            Row("student", 999_900, 35_149, 31.24, 31.996, 0.8, 300_000, 7384.0),
            Row("quick", 512, 1_000, 0.25, seconds=59.6),
        ],
        curves=[
            Curve("plain", [(0, 0.0, 28.0), (100, 60.0, 30.0), (200, 120.0, 31.0)], "PSNR-Y (dB)"),
            Curve("hkdsr", [(0, 0.0, 28.0), (100, 90.0, 30.5), (200, 180.0, 32.0)], "PSNR-Y (dB)"),
            Curve("hkdsr", [(1, 1.0, 0.5), (200, 180.0, 0.01)], "loss"),
        ],
        comparisons=[butterfly],
        recipe_text='[method]\nuse = "hkdsr"\n',
        compared=("from x4", "from x2"),
    )


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return render(report)


def test_the_page_loads_nothing_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert not re.search(r"https?:|url\(|@import|fetch\(|import\(", re.sub(r'src="[^"]*"', "", html))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_the_table_holds_the_numbers(html: str) -> None:
    page = Page(html)
    rows = np.reshape(page.texts["td"], (3, 7)).tolist()
    assert rows[0] == ["15.6 M", "918 G", "842 ms", "32.64", "0.9002", MISSING, MISSING]
    assert rows[1] == ["1.00 M", "35.1 K", "31.2 ms", "32.00", "0.8000", "300,000", "2 h 03 min"]
    assert rows[2] == ["512", "1.00 K", "0.25 ms", *[MISSING] * 3, "1 min 00 s"]
    assert page.texts["th"][8:] == ["teacher", "student", "quick"]
    for text in ("published", "Y of BT.601, 4 pixels cropped", "a sentence below the title"):
        assert text in html


def test_slider_images_are_the_given_pixels(html: str, butterfly: Comparison) -> None:
    layers = [image for image in Page(html).all("img") if "data-label" in image]
    expected = {**butterfly.images, "HR": butterfly.hr}
    assert [image["data-label"] for image in layers] == list(expected)
    assert [image["class"] for image in layers] == ["left", "right", ""]
    for image in layers:
        np.testing.assert_array_equal(decoded(image["src"]), expected[image["data-label"]])


def test_crops_are_exact_and_where_their_frames_say(html: str, butterfly: Comparison) -> None:
    page = Page(html)
    crops = [image for image in page.all("img") if "data-label" not in image]
    frames = [mark["style"] for mark in page.all("i")]
    assert len(frames) == 3
    assert len(crops) == 9
    height, width = butterfly.hr.shape[:2]
    shown = [*butterfly.images.values(), butterfly.hr]
    for index, crop in enumerate(crops):
        left, top = (float(x) for x in re.findall(r"(?:left|top):([\d.]+)%", frames[index // 3]))
        y, x = round(top * height / 100), round(left * width / 100)
        np.testing.assert_array_equal(decoded(crop["src"]), shown[index % 3][y : y + 64, x : x + 64])


@pytest.mark.parametrize(("count", "columns"), [(1, 2), (5, 6), (7, 8), (8, 5), (17, 6)])
def test_crops_are_in_lines_of_about_equal_length(report: Report, count: int, columns: int) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    one = Comparison("a", {str(index): image for index in range(count)}, image)
    page = Page(render(replace(report, comparisons=[one], compared=("0", "HR"))))
    assert [crops["style"] for crops in page.all("ol")] == [f"--columns:{columns}"]


def test_the_slider_is_a_labelled_range_and_every_image_can_be_chosen(html: str) -> None:
    page = Page(html)
    (slider,) = [field for field in page.all("input") if field["type"] == "range"]
    assert slider["aria-label"]
    assert "tabindex" not in slider
    assert page.texts["option"] == ["from x4", "from x2", "HR"] * 2
    chosen = [index for index, option in enumerate(page.all("option")) if "selected" in option]
    assert chosen == [0, 4]
    assert all(image["alt"] for image in page.all("img"))


def test_text_is_escaped_everywhere(report: Report) -> None:
    image = np.zeros((70, 70, 3), np.uint8)
    hostile = Report(
        title=HOSTILE,
        subtitle=HOSTILE,
        protocol=HOSTILE,
        rows=[Row(HOSTILE, note=HOSTILE)],
        curves=[Curve(HOSTILE, [(0, 0.0, 1.0)], HOSTILE)],
        comparisons=[Comparison(HOSTILE, {HOSTILE: image, "$title": image}, image)],
        recipe_text=HOSTILE,
        compared=(HOSTILE, "$title"),
    )
    page = Page(render(hostile))
    assert len(page.all("script")) == 1
    for tag in ("title", "h1", "h3", "pre", "option", "figcaption"):
        assert "".join(page.texts[tag]).startswith(HOSTILE), tag
    assert page.texts["p"][:2] == [HOSTILE, HOSTILE]
    assert page.all("img")[0]["data-label"] == HOSTILE
    assert page.all("img")[1]["data-label"] == "$title"


def test_empty_parts_are_left_out(report: Report) -> None:
    empty = replace(report, rows=[], curves=[], comparisons=[], recipe_text="")
    assert "h2" not in Page(render(empty)).texts
    assert Page(render(report)).texts["h2"] == ["Results", "Images", "Training", "Recipe"]


def test_curves_share_a_chart_and_a_colour_by_name(html: str) -> None:
    page = Page(html)
    charts = [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg]
    assert charts == [f"{y} over {x}" for y in ("PSNR-Y (dB)", "loss") for x in ("steps", "minutes")]
    assert [line["class"] for line in page.all("polyline")] == [*["curve c0", "curve c1"] * 2, *["curve c1"] * 2]


def test_a_line_goes_through_its_points() -> None:
    (line,) = Page(line_chart([(0, [(0, 10.0), (50, 20.0), (float("nan"), 3.0), (100, 15.0)])], "x", "y")).all(
        "polyline"
    )
    (x0, y0), (x1, y1), (x2, y2) = np.array([point.split(",") for point in line["points"].split()], float)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(2 * (y0 - y2), abs=0.2)
    assert y1 < y2 < y0
    assert line_chart([(0, [(0, float("inf"))])], "x", "y") == ""


def test_long_curves_are_averaged() -> None:
    points = [(float(x), float(x % 2)) for x in range(30_000)]
    (line,) = Page(line_chart([(0, points)], "x", "y")).all("polyline")
    places = np.array([point.split(",") for point in line["points"].split()], float)
    assert places.shape == (300, 2)
    assert np.ptp(places[:, 1]) < 1


@given(st.floats(-1e3, 1e3), st.floats(1e-4, 1e6), st.booleans())
def test_linear_axes_hold_their_values_between_round_ticks(low: float, span: float, widen: bool) -> None:
    axis = linear_axis(low, low + span, widen)
    assert -1e-6 <= axis(low) <= axis(low + span) <= 1 + 1e-6
    assert 2 <= len(axis.ticks) <= 8
    assert all(-1e-6 <= axis(tick) <= 1 + 1e-6 for tick in axis.ticks)


@given(st.floats(-1e12, 1e12), st.booleans())
def test_an_axis_of_one_value_or_of_its_rounding_errors_still_has_a_width(value: float, widen: bool) -> None:
    for other in (value, np.nextafter(value, np.inf)):
        axis = linear_axis(value, float(other), widen)
        assert 0 < axis(value) < 1
        assert len(axis.ticks) >= 2


@given(st.floats(1e-6, 1e3), st.floats(21, 1e8))
def test_widely_spread_values_get_a_logarithmic_axis(low: float, ratio: float) -> None:
    axis = value_axis([low, low * ratio])
    assert axis.log
    assert 0 <= axis(low) < axis(low * ratio) <= 1
    assert 2 <= len(axis.ticks) < 18
    assert not value_axis([low, 2 * low]).log
    assert not value_axis([0.0, low]).log


def test_crops_show_where_two_images_differ_most() -> None:
    hr = np.random.default_rng(0).integers(0, 256, (100, 120, 3)).astype(np.uint8)
    changed = hr // 2 + 50
    other = changed.copy()
    other[10:26, 90:106] += 40
    other[70:86, 5:21] += 20
    assert most_different_crops(changed, other, hr, 16, 2) == [(10, 90), (70, 5)]

    flat = np.zeros_like(hr)
    flat[60:70, 30:40] = hr[60:70, 30:40]
    ((top, left),) = most_different_crops(hr, hr, flat, 16, 1)
    assert 54 <= top <= 60
    assert 24 <= left <= 30
    assert len(most_different_crops(hr, hr, hr, 64, 3)) == 1


def test_images_are_packed_alike_within_the_budget(butterfly: Comparison) -> None:
    roomy, tight = pack(butterfly.images, 10**7), pack(butterfly.images, 60_000)
    assert roomy.quality == 100
    assert tight.quality < 100
    assert sum(map(len, tight.uris.values())) <= 60_000
    for label, uri in tight.uris.items():
        assert 0 < np.abs(decoded(uri).astype(int) - butterfly.images[label]).mean() < 5


def test_the_file_is_written_atomically(tmp_path: Path, report: Report, html: str) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(report, path)
    assert path.read_text("utf-8") == html
    with files_up_to(5000), pytest.raises(HkdsrError, match=r"cannot write .*report.html \(File too large\)"):
        write_report(replace(report, title="another"), path)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert path.read_text("utf-8") == html


def test_images_of_another_size_are_refused(report: Report, butterfly: Comparison) -> None:
    with pytest.raises(HkdsrError, match=r"butterfly has no image 'teacher': add it or compare two of from x4, "):
        render(replace(report, compared=("teacher", "HR")))
    small = replace(butterfly, images={**butterfly.images, "from x2": butterfly.hr[:-1]})
    with pytest.raises(HkdsrError, match=r"'from x2' of comparison butterfly is uint8 of shape .* give uint8 RGB"):
        render(replace(report, comparisons=[small]))
