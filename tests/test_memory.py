"""How a lack of memory is told from other errors, and what is said of it."""

from __future__ import annotations

import errno
import weakref

import numpy as np
import pytest
import torch

from hkdsr.errors import HkdsrError
from hkdsr.memory import OutOfMemoryError, fits, needed_for, ran_out


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not execute a primitive"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("unable to mmap 9 bytes from file <a.pth>: Cannot allocate memory (12)"),
        OSError(errno.ENOMEM, "Cannot allocate memory", "a.png"),
        OSError("Cannot allocate memory (os error 12)"),
        OSError("out of memory error when reading image file"),
    ],
)
def test_every_librarys_words_are_understood(error: Exception) -> None:
    assert ran_out(error)
    with pytest.raises(OutOfMemoryError) as caught, needed_for("a.png", "cut it"):
        raise error
    assert str(caught.value) == "a.png does not fit into memory: cut it"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        RuntimeError("shapes do not match"),
        OSError(errno.ENOENT, "No such file or directory", "out of memory.png"),
        HkdsrError("out of memory.png is damaged: copy it again"),
        KeyboardInterrupt("out of memory"),
    ],
)
def test_other_errors_stay_as_they_are(error: BaseException) -> None:
    assert not ran_out(error)
    with pytest.raises(type(error)) as caught, needed_for("a.png", "cut it"):
        raise error
    assert caught.value is error


def test_what_did_not_fit_is_let_go_though_the_error_is_kept() -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def work() -> None:
        large = np.zeros(9)
        held.append(weakref.ref(large))
        raise MemoryError

    with pytest.raises(OutOfMemoryError) as caught, needed_for("a.png", "cut it"):
        work()
    assert caught.value.__cause__ is not None
    assert held[0]() is None


def test_what_numpy_and_pytorch_really_say_is_understood() -> None:
    for ask in (lambda: np.zeros(1 << 60, np.uint8), lambda: torch.zeros(1 << 60, dtype=torch.uint8)):
        with pytest.raises(OutOfMemoryError), needed_for("a.png", "cut it"):
            ask()


def test_work_that_does_not_fit_is_told_from_work_that_fails() -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def hungry() -> None:
        large = np.zeros(9)
        held.append(weakref.ref(large))
        raise MemoryError

    assert not fits(hungry)
    assert held[0]() is None  # smaller pieces have its room
    assert fits(lambda: None)
    with pytest.raises(KeyError):
        fits(lambda: {}["a"])
