"""The losses of HKDSR on a CPU, compiled and in tensor operations: ``python -m benchmarks.losses [SIDE ...]``.

Each runs forward and backward on a batch of crops of the demo's photographs, one after the other in every round; the
columns are medians of CPU milliseconds, and what the compiled form takes of the time of the other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor

from hkdsr.data import imresize, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.losses import Fusion, compiled, fsm_sum

ROUNDS, BATCH, EXITS = 5, 16, (0.2, 0.2, 0.8)


def main(words: Sequence[str] | None = None) -> None:
    """Print a row for each loss and side of HR crops; ``words`` replace sys.argv."""
    torch.set_num_threads(1)
    print("| loss | HR | compiled, ms | in tensors, ms | ratio |")
    print("|------|---:|-------------:|---------------:|------:|")
    for side in map(int, (sys.argv[1:] if words is None else words) or ("96", "144", "192")):
        student, teacher, hr = crops(side)
        gate = Fusion()
        losses: dict[str, Callable[[], Tensor]] = {
            "FSM of 3 outputs": lambda s=student, t=teacher, g=hr: fsm_sum([s] * 3, [t] * 3, g, EXITS),
            "ACF": lambda s=student, t=teacher, g=hr, gate=gate: gate(s, t, g),
        }
        for name, loss in losses.items():
            ours, plain = measured(loss, student)
            print(f"| {name} | {side} | {ours:.1f} | {plain:.1f} | {ours / plain:.2f} |", flush=True)


def measured(loss: Callable[[], Tensor], student: Tensor) -> tuple[float, float]:
    """The medians for both forms, in turn."""
    forms, taken = (compiled._module, lambda: None), ([], [])
    try:
        for round_ in range(ROUNDS + 1):
            for form, times in zip(forms, taken, strict=True):
                compiled._module = form
                begun = time.process_time()
                torch.autograd.grad(loss(), student)
                if round_:  # the first one compiles
                    times.append(1000 * (time.process_time() - begun))
    finally:
        compiled._module = forms[0]
    return median(taken[0]), median(taken[1])


def crops(side: int) -> list[Tensor]:
    """S, T and G (16, 3, side, side): photographs enlarged from a third and a half of the size, and as they are."""
    images = [rgb(path) for path in demo_files()[0].values()]
    random = np.random.default_rng(0)
    cut = []
    for index in range(BATCH):
        image = images[index % len(images)]
        top, left = (random.integers(size - side) for size in image.shape[:2])
        cut.append(torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1))
    hr = (torch.stack(cut).float() / 255).contiguous()
    student, teacher = (imresize(imresize(hr, 1 / scale), scale)[..., :side, :side].contiguous() for scale in (3, 2))
    return [student.requires_grad_(), teacher, hr]


if __name__ == "__main__":
    main()
