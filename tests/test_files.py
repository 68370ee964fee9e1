"""Files written in one piece, folders used by one process, and targets that cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hkdsr.errors import HkdsrError
from hkdsr.files import claimed, write_atomically
from hkdsr.paths import require_writable

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from hkdsr.files import write_atomically
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), b"new")
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_next_process_deletes_what_a_killed_one_left(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    file.write_bytes(b"old")
    for other in ("mine.part", ".mine.part", ".hkdsr-notes"):
        (tmp_path / other).write_bytes(b"of the user")
    before = names(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, file], check=False, timeout=60)
    (left,) = names(tmp_path) - before
    assert file.read_bytes() == b"old"
    with claimed(tmp_path):
        assert names(tmp_path) == before | {".lock"}
        # A process that does not have the folder deletes nothing.
        (tmp_path / left).write_bytes(b"half")
        with pytest.raises(HkdsrError, match="another process trains in"), claimed(tmp_path):
            pass
        assert left in names(tmp_path)
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["x" * 250, "x" * 255, "\u00fc" * 125])
def test_long_names(name: str, tmp_path: Path) -> None:
    write_atomically(tmp_path / name, b"content")
    assert names(tmp_path) == {name}


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(HkdsrError, match=r"^cannot write .*xxx \(File name too long\): "):
        write_atomically(tmp_path / ("x" * 256), b"content")
    assert names(tmp_path) == set()


def test_a_check_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    for target in (tmp_path / "file", tmp_path / "new" / "folder" / "file"):
        require_writable(target)
    require_writable(tmp_path, folder=True)
    assert names(tmp_path) == {"file"}
    assert (tmp_path / "file").read_bytes() == b"content"


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(HkdsrError, match=r"^cannot write \S*file/below/it, as \S*file is not a folder: name another"):
        require_writable(tmp_path / "file" / "below" / "it")
    with (
        pytest.raises(HkdsrError, match=r"^cannot write \S*file \(File exists\): choose another 'out'"),
        claimed(tmp_path / "file"),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, where even root cannot make files")
def test_a_name_that_is_too_long_is_noticed_before_the_work(tmp_path: Path) -> None:
    for folder in (False, True):
        with pytest.raises(HkdsrError, match="too long"):
            require_writable(tmp_path / ("n" * 300), folder=folder)
    require_writable(tmp_path / ("n" * 250))


def test_a_file_system_that_takes_no_files() -> None:
    with pytest.raises(HkdsrError, match=r"^cannot write /proc/self/out \("):
        require_writable(Path("/proc/self/out"))
