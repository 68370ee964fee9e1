"""Peak memory and the name of the device that a study reports."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
import torch

from hkdsr.studies.tasks import machine
from hkdsr.studies.tasks.machine import CLEAR, device_name, peak_memory, reset_peak_memory

CPU = torch.device("cpu")
SIZE = 512 * 2**20


def known_peak() -> int:
    peak = peak_memory(CPU)
    assert peak is not None
    return peak


@pytest.mark.skipif(not CLEAR.exists(), reason="only Linux can forget the peak")
def test_peak_memory_is_that_since_the_reset() -> None:
    gc.collect()  # what other tests have left must not go between the two readings
    reset_peak_memory(CPU)
    before = known_peak()
    torch.ones(SIZE // 4)
    after = known_peak()
    assert after - before > SIZE // 2
    reset_peak_memory(CPU)
    assert after - known_peak() > SIZE // 4


def test_elsewhere_the_peak_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource")
    monkeypatch.setattr(machine, "STATUS", Path("absent"))
    torch.ones(SIZE // 4)
    assert SIZE < known_peak() < 2**40


def test_windows_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STATUS", Path("absent"))
    monkeypatch.setitem(sys.modules, "resource", None)  # as where the module does not exist
    assert peak_memory(CPU) is None


def test_the_cpu_is_named_with_its_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU\nmodel name\t: Some CPU\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    for threads, name in ((1, "1 CPU thread of Some CPU"), (3, "3 CPU threads of Some CPU")):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert device_name(CPU) == name
        assert device_name(CPU, "bf16") == f"{name}, bf16"
