"""Networks compiled by torch.compile for the steps of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hkdsr.errors import HkdsrError
from hkdsr.nets.exits import Outputs
from hkdsr.settings.choices import Compile

Function = Callable[..., Outputs]


def compiled(function: Function, choice: Compile, device: torch.device) -> Function:
    """``function`` compiled for the shapes that it gets, as ``training.compile`` says; at its first call.

    The result raises HkdsrError where it cannot be compiled.
    """
    if choice == "no":
        return function
    from torch._dynamo.exc import TorchDynamoException

    mode = "reduce-overhead" if choice == "graphs" and device.type == "cuda" else "default"
    fast = torch.compile(function, dynamic=False, mode=mode)

    def run(*arguments: Any) -> Outputs:
        try:
            return fast(*arguments)
        except TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise HkdsrError(
                f"training.compile is '{choice}', but PyTorch cannot compile the networks ({reason}): set it to 'no'"
            ) from error

    return run
