"""NcnnRuntimeNetwork: a pair of ncnn files run by ncnn itself, to compare what was written with the network.

ncnn does not check what it reads: a damaged file can end the process. So files are first tried in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import torch

from hkdsr.deploy.formats import ncnn_session
from hkdsr.errors import HkdsrError
from hkdsr.nets.files.openvino import read_pair
from hkdsr.nets.files.session import SessionNetwork

LONGEST_TRIAL = 60
"""Seconds."""


class NcnnRuntimeNetwork(SessionNetwork):
    """The network in ``path`` (the .param file) and the .bin file beside it, computed in float32.

    Raises HkdsrError, naming ``path``, if ncnn is missing, if one of the files cannot be read, if ncnn cannot run
    them, and for other inputs or outputs than one image.
    """

    family = "ncnn"
    kind = "ncnn"

    def __init__(self, path: Path) -> None:
        try:
            import_module("ncnn")
        except ImportError as error:
            raise HkdsrError("comparing ncnn files needs ncnn: pip install 'hkdsr[ncnn]'") from error
        description, weights = read_pair(path)
        files = (str(path), str(path.with_suffix(".bin")))
        _require_runs(path, files)
        run = ncnn_session.session(*files, torch.get_num_threads())
        content = description + weights
        super().__init__(lambda images: [run(images)], (RuntimeError,), content, str(path), {}, colour_range=1.0)


def _require_runs(path: Path, files: tuple[str, str]) -> None:
    # -P: the folder of the script has a module with the name of the runtime.
    command = [sys.executable, "-P", ncnn_session.__file__, *files]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LONGEST_TRIAL, check=False)
    except subprocess.TimeoutExpired as error:
        raise HkdsrError(f"{path} keeps ncnn busy for {LONGEST_TRIAL} s with a small image: export it again") from error
    if done.returncode:
        raise HkdsrError(f"{path} cannot be run by ncnn: export it again")
