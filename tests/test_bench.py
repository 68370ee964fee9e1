"""The table of speed: ratios are what the forms take, goals are judged by them, and missing rivals are named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import gpu, rounds, rows_images, rows_losses, table
from benchmarks.machine import machine
from benchmarks.rounds import Missing, Pair, in_turn, measured, why_missing
from hkdsr.losses import fsm


def taking(seconds: float, calls: list[float] | None = None) -> rounds.Form:
    """A form that says its own seconds, so that nothing has to be waited for."""

    def form() -> float:
        if calls is not None:
            calls.append(seconds)
        return seconds

    return form


def test_ratios_are_of_the_same_work() -> None:
    ours = taking(3.0)
    pairs = [
        Pair("a", "b", ours, taking(2.0), goal=1.6),
        Pair("a", "b", ours, taking(2.0), goal=1.4),
        Pair("four times the work", "b", ours, taking(1.0), work=4, goal_seconds=3.5),
    ]
    rows = measured(pairs, 2)
    assert [row.ratio for row in rows] == [1.5, 1.5, 0.75]
    assert [row.met for row in rows] == [True, False, True]
    assert all(row.cpu_ratio is None for row in rows)  # not known for what says its own seconds


def test_forms_take_turns_after_one_round_that_is_not_counted() -> None:
    calls: list[float] = []
    in_turn([taking(1.0, calls), taking(2.0, calls)], 3)
    assert calls == [1.0, 2.0] * 4


def test_cpu_seconds_are_not_those_of_waiting() -> None:
    (waits,) = in_turn([lambda: time.sleep(0.05)], 1)
    assert waits.wall >= 0.05
    assert waits.cpu is not None
    assert waits.cpu < waits.wall


def test_a_goal_about_cpu_seconds_is_judged_by_them() -> None:
    def slept() -> None:
        time.sleep(0.3)

    def worked() -> None:
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass

    wall, cpu = measured([Pair("a", "b", slept, worked, 0.9, by_cpu=by_cpu) for by_cpu in (False, True)], 1)
    assert not wall.met
    assert cpu.met


def test_what_is_missing_is_named_and_the_rest_is_measured() -> None:
    pairs = [Pair("a", "b", taking(1.0), Missing("b is not installed")), Pair("a", "c", taking(1.0), taking(1.0))]
    missing, found = measured(pairs, 1)
    assert (missing.ratio, missing.met, missing.why) == (None, None, "b is not installed")
    assert found.ratio == 1
    assert "| not measured: b is not installed |" in table.line(missing)


def test_a_runtime_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for package in ("openvino", "ncnn", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    with rows_images.beside_runtimes(tmp_path) as pairs:
        why = {pair.against: why_missing(pair) for pair in pairs}
    assert why["PyTorch, eager"] == ""
    assert why["OpenVINO, f32"] == "openvino is not installed"
    assert why["ncnn"] == "ncnn is not installed"
    assert why["ONNX Runtime"] == "onnxruntime is not installed"


def test_basicsr_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("basicsr", "basicsr.models"):
        monkeypatch.setitem(sys.modules, name, None)
    with bench.GROUPS["crops"](tmp_path) as pairs:
        assert all(why_missing(pair).startswith("BasicSR cannot be imported") for pair in pairs)


def test_runtimes_make_the_same_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rows_images, "WIDTH", 64)
    monkeypatch.setattr(rows_images, "HEIGHT", 36)
    with rows_images.beside_runtimes(tmp_path) as pairs:
        forms = {id(form): form for pair in pairs for form in (pair.ours, pair.theirs) if not isinstance(form, Missing)}
        first, *others = (torch.as_tensor(form()).int() for form in forms.values())
    assert len(others) >= 1
    for other in others:  # in bf16 colours are up to a few levels off
        assert (other - first).abs().max() <= 8


def test_the_definition_is_what_fsm_gives() -> None:
    student, teacher, hr = (image.detach() for image in rows_losses.images(1, 24))
    assert float(rows_losses.by_definition(student, teacher, hr)) == pytest.approx(
        float(fsm(student, teacher, hr)), rel=1e-4
    )


def test_the_table_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        bench.main(["compiled", "--rounds", "1", "--out", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out.splitlines()
    names = [line.split(" | ")[0] for line in printed[2:]]
    assert names == ["| FSM of 3 outputs, HR 96, batch 16", "| ACF, HR 96, batch 16"]
    written = (tmp_path / "speed.md").read_text().splitlines()
    assert written[-len(printed) :] == printed
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["machine"].keys() == machine().keys()
    assert [row.ratio for row in table.read(tmp_path, "speed")] == [row["ratio"] for row in content["rows"]]


def test_remarks_below_the_table_stay(tmp_path: Path) -> None:
    for what in ("old", "new"):
        table.write(tmp_path, "speed", "# Speed", {}, measured([Pair(what, "b", taking(1.0), taking(1.0))], 1))
        if what == "old":
            with (tmp_path / "speed.md").open("a") as page:
                page.write("\n## Why\n\nBecause.\n\n## More\n")
    written = (tmp_path / "speed.md").read_text()
    assert "| new |" in written
    assert "| old |" not in written
    assert written.endswith("|  |  |\n\n## Why\n\nBecause.\n\n## More\n")


def test_a_group_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["stepp"])
    assert "no such group: stepp" in capsys.readouterr().err


def test_without_a_gpu_no_row_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--out", str(tmp_path)])
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert len(rows) > 15
    assert {row["why"] for row in rows} == {"there is no GPU"}
    assert capsys.readouterr().out.count("not measured: there is no GPU") == len(rows)


def test_every_row_for_gpus_runs(tmp_path: Path) -> None:
    """On the CPU, where compiling is left to test_training_compile.py."""
    larger = ("edsr:features=4,blocks=2", "rcan:groups=1,blocks=2,features=4,reduction=2")
    sizes = gpu.Sizes("compact:features=4,convs=4", larger, 2, 16, 8, (16,))
    for group in gpu.groups(sizes, torch.device("cpu"), tmp_path):
        for row in measured([pair for pair in group if not re.search("compiled|graphs", pair.what)], 1):
            assert row.ratio
            assert row.ratio > 0


def test_each_of_several_groups_has_a_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        _, _, _, name, _, folder, *more = command
        assert more == ["--threads", "1", "--rounds", "2"]
        if name == "crops":
            return subprocess.CompletedProcess(command, -11)
        (row,) = measured([Pair(name, "b", taking(1.0), taking(2.0))], 1)
        table.write(Path(folder), "speed", "", {}, [row])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    bench.main(["fsm", "crops", "--rounds", "2", "--out", str(tmp_path)])
    fsm_row, broken = table.read(tmp_path, "speed")
    assert (fsm_row.what, fsm_row.ratio) == ("fsm", 0.5)
    assert (broken.what, broken.why) == ("group crops", "its process ended with -11")
    assert len(capsys.readouterr().out.splitlines()) == 4
