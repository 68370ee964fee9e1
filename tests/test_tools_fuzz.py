"""The fuzzer finds what it is for, its cases are always the same, and some of them are run on every change."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hkdsr.errors import HkdsrError
from tools.fuzz import cases
from tools.fuzz.cases import Kind, made, outcome

pytest.importorskip("onnx")
DEATHS = """
import ctypes, json, os, time
from tools.fuzz.workers import outcomes

def work(case, folder):
    match case:
        case "sleeps": time.sleep(60)
        case "crashes": ctypes.string_at(0)
        case "leaves": os._exit(3)
        case "hungry":
            try: bytearray(3 << 30)
            except MemoryError: return "FAULT: MemoryError"
    return "result"

names = ["one", "sleeps", "two", "crashes", "leaves", "hungry", "three"]
print(json.dumps(dict(outcomes(names, work, workers=2, seconds=2))))
"""


def fuzz(*arguments: str, folder: Path) -> tuple[int, list[dict[str, str]]]:
    """The exit code and the report of ``python -m tools.fuzz ARGUMENTS``."""
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "]
    command[-1] += "sys.argv[0] = 'fuzz'; runpy.run_module('tools.fuzz', run_name='__main__')"
    command += [root, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.stdout, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_300_damaged_files_give_a_result_or_a_sentence(tmp_path: Path) -> None:
    counts = ("--images", "200", "--models", "50", "--recipes", "50", "--formats", "0", "--workers", "1")
    code, report = fuzz(*counts, folder=tmp_path)
    assert [line for line in report if line["outcome"].startswith("FAULT")] == []
    assert code == 0
    assert len({line["case"] for line in report}) == 300
    results = {line["case"].partition("-")[0] for line in report if line["outcome"] == "result"}
    assert results >= {"image", "model"}, "not all of them are refused"


def test_60_tampered_exports_give_a_result_or_a_sentence(tmp_path: Path) -> None:
    for needed in ("openvino", "pnnx", "ncnn"):
        pytest.importorskip(needed)
    counts = ("--images", "0", "--models", "0", "--recipes", "0", "--formats", "60", "--workers", "1")
    code, report = fuzz(*counts, folder=tmp_path)
    assert [line for line in report if line["outcome"].startswith("FAULT")] == []
    assert code == 0
    assert len(report) == 60
    assert sum(line["outcome"].startswith("refused") for line in report) > 20, "hardly any is damaged"


def test_one_case_is_run_again_and_its_file_kept(tmp_path: Path) -> None:
    _, (line,) = fuzz("--case", "image-0003", folder=tmp_path)
    assert line["case"] == "image-0003"
    assert len(list((tmp_path / "image-0003").glob("image.*"))) == 1


@pytest.mark.parametrize("kind", [kind for kind in cases.KINDS if kind != "format"])
def test_a_case_is_always_the_same_and_no_other(kind: str, tmp_path: Path) -> None:
    contents = []
    for index, (seed, number) in enumerate([(1, 5), (1, 5), (1, 6), (2, 5)]):
        folder = tmp_path / str(index)
        folder.mkdir()
        contents.append(made(f"{kind}-{number:04}", seed, folder).read_bytes())
    assert contents[0] == contents[1]
    assert len(set(contents)) == 3


def raising(error: Exception) -> Callable[[Path, Path], None]:
    def use(path: Path, folder: Path) -> None:
        raise error

    return use


def leaving(path: Path, folder: Path) -> None:
    (folder / ".large.png.1.part").touch()


USES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "fine": (lambda path, folder: None, "result"),
    "refused": (raising(HkdsrError("image.png is damaged: give another")), "refused: image.png is damaged: give"),
    "traceback": (raising(IndexError("3")), "FAULT: IndexError at test_tools_fuzz.py"),
    "nameless": (raising(HkdsrError("it is damaged: give another")), "FAULT: a sentence without the file's name"),
    "leftover": (leaving, "FAULT: .large.png.1.part left behind"),
}


@pytest.mark.parametrize("name", USES)
def test_faults_are_told_from_refusals(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use, said = USES[name]

    def make(random: object, folder: Path) -> Path:
        (folder / "image.png").touch()
        return folder / "image.png"

    monkeypatch.setitem(cases.KINDS, "image", Kind(make, use))
    assert outcome("image-1", 0, tmp_path).startswith(said)


def test_a_case_of_no_kind_is_named() -> None:
    with pytest.raises(ValueError, match="video-1 is no case: name one as image-0123"):
        made("video-1", 0, Path())


def test_a_process_that_dies_is_a_fault_of_its_case_and_the_rest_is_done(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", DEATHS], capture_output=True, text=True, timeout=120, cwd=root, check=False
    )
    found = json.loads(done.stdout)
    assert found == {
        "one": "result",
        "two": "result",
        "three": "result",
        "sleeps": "FAULT: it took over 2 s",
        "crashes": "FAULT: the process was killed by SIGSEGV",
        "leaves": "FAULT: the process ended with code 3",
        "hungry": "FAULT: MemoryError",
    }
