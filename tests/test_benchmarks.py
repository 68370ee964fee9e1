"""Every benchmark, run as small as it gets: it prints a row for all that it compares, relative to the first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch

from benchmarks import (
    degrade,
    exit_start,
    fidelity,
    growth,
    large_store,
    page_load,
    prune_cuts,
    speed,
    step,
    stream,
)
from hkdsr.nets import FAMILIES


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_step_compares_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    step.main([tiny.STUDENT, "--batch", "2", "--patch", "16", "--rounds", "1", "--threads", "1"])
    title, student, *rows = capsys.readouterr().out.splitlines()
    assert title == "batch 2, LR 16, x2, 1 threads; plain, same exits = 1"
    assert student == tiny.STUDENT
    ratios = {row[:24].strip(): float(row[24:]) for row in rows}
    assert list(ratios) == list(step.METHODS)
    assert ratios["plain, same exits"] == 1
    assert min(ratios.values()) > 0


def test_step_with_a_teacher_compares_methods_with_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = ["--teacher", str(tiny.teacher(tmp_path / "teacher.safetensors")), "--precision", "bf16"]
    step.main([tiny.STUDENT, "--batch", "4", "--patch", "16", "--rounds", "1", "--threads", "1", *teacher])
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row[:24].strip() for row in rows] == [*step.METHODS, *step.WITH_FEATURES]


def test_speed_compares_networks_at_one_output_size(capsys: pytest.CaptureFixture[str]) -> None:
    speed.main(["compact_x2", "tiny_x4", "--size", "64x32", "--rounds", "1", "--threads", "1"])
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("output 64x32, 1 CPU threads, medians of 1 rounds")
    assert rows[0].startswith("compact_x2: x2, 78.6 K parameters, ")
    assert rows[1].startswith("tiny_x4: x4, 53.0 K parameters, ")
    relative = [float(re.findall(r"([\d.]+) times the time of the first", row)[0]) for row in rows]
    assert relative[0] == 1
    assert len(relative) == 2


def test_a_size_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        speed.main(["compact_x2", "--size", "large"])
    assert "invalid size value: 'large'" in capsys.readouterr().err


def test_exit_start_scores_both_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = tiny.teacher(tmp_path / "teacher.safetensors")
    exit_start.main([str(teacher), "--steps", "0", "--threads", "1"])
    rows = capsys.readouterr().out.splitlines()
    scores = [re.findall(r"(bicubic|exit \d|final) ([\d.]+)", row) for row in rows if row.startswith(str(teacher))]
    assert [row.split(": ")[0] for row in rows] == [f"{teacher}, start {start}, 0 steps" for start in exit_start.STARTS]
    assert all([name for name, _ in found] == ["bicubic", "exit 1", "exit 2", "final"] for found in scores)
    bicubic, plain = ({name: float(score) for name, score in found} for found in scores)
    # The correction starts at zero, random weights are far from an image.
    assert bicubic["exit 1"] == bicubic["exit 2"] == bicubic["bicubic"] == plain["bicubic"]
    assert max(plain["exit 1"], plain["exit 2"]) < bicubic["bicubic"] - 5


def test_growth_compares_both_settings_of_the_caches(capsys: pytest.CaptureFixture[str]) -> None:
    growth.main(["tiny_x4", "--images", "52"])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(":")[0] for row in rows] == ["caches as the package sets them", "caches as PyTorch has them"]
    assert all(re.search(r": \d+ MB after 50 images, \d+ after 52, -?\d+ more$", row) for row in rows)


def test_prune_cuts_scores_pruned_and_sliced_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.photographs(tmp_path / "train", height=80, width=80)
    tiny.photographs(tmp_path / "Set5", count=1)
    few = ["--only", "compact_x2", "--cuts", "1", "--crops", "4"]
    places = ["--root", str(tmp_path), "--out", str(tmp_path / "out")]
    prune_cuts.main([str(tmp_path), str(tmp_path / "train"), *few, *places])
    teacher, student = capsys.readouterr().out.splitlines()
    found = re.fullmatch(
        r"  compact:features=24,convs=8 \(\d+ % .*: pruned ([\d.]+), slice ([\d.]+) dB; \d+ s of CPU", student
    )
    assert found
    pruned, sliced = map(float, found.groups())
    assert re.fullmatch(r"compact_x2 \(x2\): [\d.]+ dB", teacher)
    assert sliced < pruned < float(teacher.split()[-2])


def test_prune_cuts_has_every_family() -> None:
    families = {students[0].partition(":")[0] for students in prune_cuts.CUTS.values()}
    assert families == FAMILIES.keys()


def test_degrade_times_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = tiny.teacher(tmp_path / "teacher.safetensors")
    images = tiny.photographs(tmp_path / "images", count=1)
    small = ("--student", tiny.STUDENT, "--steps", "1", "--batch", "2", "--patch", "12")
    degrade.main([str(teacher), str(images), *small])
    clean, live, kept, *_ = capsys.readouterr().out.splitlines()
    assert all(int(row.split(" ms a step")[0]) > 0 for row in (clean, live, kept))
    assert "the teacher live" in live
    assert "2 variants" in kept


def test_stream_compares_the_memory_and_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream.main(["0.03", "--folder", str(tmp_path), "--runtime", "torch"])
    title, strips, whole, same = capsys.readouterr().out.splitlines()
    assert title == "50x38 by tiny_x4 to 200x152, .png:"
    for row, name in ((strips, "strips"), (whole, "whole")):
        assert re.fullmatch(rf"  {name} +\d+ MB of memory, +[\d.]+ s, a file of 0 MB", row)
    assert same == "  same bytes"
    assert not list(tmp_path.iterdir())


def test_fidelity_is_perfect_for_the_teacher_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tiny.photographs(tmp_path / "images", count=2)
    fidelity.main(["tiny_x4", str(images), "tiny_x4", "--share", "1", "--crops", "2", "--side", "12"])
    clean, degraded = capsys.readouterr().out.splitlines()
    for line, name in ((clean, "clean"), (degraded, "degraded")):
        found = re.fullmatch(rf"{name}: bicubic ([\d.]+) / (0\.\d+), tiny_x4 (\w+) / 1\.0000", line)
        assert found
        assert float(found[1]) < 60 < float(found[3]) == float("inf")


def test_every_benchmark_is_tested_here() -> None:
    scripts = {
        path.stem
        for path in Path(exit_start.__file__).parent.glob("*.py")
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    modules = (degrade, exit_start, fidelity, growth, large_store, page_load, prune_cuts, speed, step, stream)
    # The table and its part for GPUs have tests of their own, in test_bench.py.
    assert scripts - {"__main__", "gpu"} == {module.__name__.removeprefix("benchmarks.") for module in modules}


def test_large_stores_of_no_bytes(capfd: pytest.CaptureFixture[str]) -> None:
    large_store.main(["1"])
    *_, row = capfd.readouterr().out.splitlines()
    size, images, files, held, *rates, memory = (float(cell) for cell in row.strip("|").split("|"))
    assert (size, images, files) == (1.0, 54, 3)
    assert held < 1  # MB on the disk
    assert min(rates) > 0
    assert memory < 1000


def test_page_load_counts_failures_and_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio", reason="the page is an extra: pip install 'hkdsr[app]'")
    page_load.main(["--requests", "12", "--visitors", "2"])
    load, rush = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"12 requests, 0 failed: \d+ MB, then \d+ MB \([+-]\d+\.\d %\)", load)
    numbers = re.fullmatch(r"12 at once with room for 4: (\d+) refused, (\d+) answered", rush)
    assert numbers
    refused, answered = map(int, numbers.groups())
    assert refused + answered == 12
    assert answered >= 4
