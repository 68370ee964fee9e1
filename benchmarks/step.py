"""How long a distillation step takes, compared with a plain one: ``python -m benchmarks.step``.

Plain training with the same student exits is 1; HKDSR gets the teacher's images from memory, as from the cache. The
methods take steps on photographs one after another in several rounds, so that other work of the machine slows all
alike, and the medians are compared. With ``--teacher`` there are methods too that compare features, for which the
teacher runs in every step.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import torch

from benchmarks.photographs import crops
from benchmarks.rounds import Form, in_turn
from hkdsr.devices import autocast
from hkdsr.methods import FAKD, HKDSR, HKDSRPlus, Logits, Method, Plain
from hkdsr.methods.inputs import every
from hkdsr.nets.base import Network
from hkdsr.nets.exits import Exits, Outputs, enlarge
from hkdsr.nets.files.load import build, load
from hkdsr.settings.choices import Precision
from hkdsr.training.distiller import Distiller, feature_taps, in_full, traced_outputs

STUDENTS = ("compact:features=32,convs=8", "smfanet:dim=36,blocks=8", "edsr:features=64,blocks=16")
METHODS: dict[str, Method] = {
    "plain, same exits": Plain(exit_weight=0.1),
    "plain, no exits": Plain(),
    "logits": Logits(),
    "hkdsr": HKDSR(),
    "hkdsr, exits of 1/4": HKDSR(exits_every=4),
    "hkdsr, 256 samples": HKDSR(fsm_samples=256),
    "hkdsr, both": HKDSR(exits_every=4, fsm_samples=256),
    "hkdsr, FSM only": HKDSR(ada_w=0.0, ada_wt=0.0),
    "hkdsr, ACF only": HKDSR(sim_w=0.0, sim_wt=0.0),
}
WHOLE = HKDSRPlus(affinity_every=1, affinity_samples=None, exits_every=1, fsm_samples=None)
PART = HKDSRPlus(affinity_every=4, affinity_samples=128, exits_every=4, fsm_samples=256)
WITH_FEATURES: dict[str, Method] = {
    "fakd": FAKD(),
    "fakd, 1/4": FAKD(affinity_every=4),
    "fakd, 128 samples": FAKD(affinity_samples=128),
    "fakd, both": FAKD(affinity_every=4, affinity_samples=128),
    "hkdsr+, whole": WHOLE,
    "hkdsr+, parts": PART,
}


def stepper(
    student: str,
    method: Method,
    lr: torch.Tensor,
    hr: torch.Tensor,
    precision: Precision = "fp32",
    network_of_teacher: Network | None = None,
) -> Form:
    """A function that takes one training step."""
    scale = hr.shape[-1] // lr.shape[-1]
    torch.manual_seed(0)
    network = build(student, scale)
    exits = Exits(network, (0.3, 0.7)) if method.uses_exits else None
    module = Distiller(network, exits, method.resolved(scale)).to(lr.device).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(module.parameters(), 1e-4)
    soft = enlarge(lr, scale)
    blurred = [every(method.strides.exits, hr.lerp(soft, share)) for share in (0.6, 0.5)]
    teacher = Outputs(hr.lerp(soft, 0.3), tuple(blurred) if method.uses_exits else ())
    x = lr.to(memory_format=torch.channels_last)
    taps = feature_taps(network_of_teacher, method.feature_depths) if network_of_teacher else ()

    def given() -> Outputs:
        if not network_of_teacher or not taps:
            return teacher
        with torch.no_grad():
            found = traced_outputs(network_of_teacher, every(method.strides.features, x), None, taps)
        return replace(teacher, features=in_full(found).features)

    def step() -> None:
        optimiser.zero_grad()
        with autocast(precision, x.device):
            terms = module(x, hr, given())
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()

    return step


def main(words: Sequence[str] | None = None) -> None:
    """Print a table of ratios to the plain step with the same exits. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", nargs="*", default=STUDENTS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=48, help="LR pixels")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--teacher", help="a checkpoint, for methods that compare its features")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    teacher = load(arguments.teacher).requires_grad_(False) if arguments.teacher else None
    if teacher is not None:
        teacher.to(memory_format=torch.channels_last)
    methods = {**METHODS, **(WITH_FEATURES if teacher else {})}
    lr, hr = crops(arguments.batch, arguments.patch, arguments.scale)
    print(
        f"batch {arguments.batch}, LR {arguments.patch}, x{arguments.scale}, {arguments.threads} threads; "
        "plain, same exits = 1"
    )
    for student in arguments.students:
        common = (lr, hr, arguments.precision, teacher)
        steppers = {name: stepper(student, method, *common) for name, method in methods.items()}
        taken = dict(zip(steppers, in_turn([*steppers.values()], arguments.rounds), strict=True))
        base = taken["plain, same exits"].wall
        print(student)
        for name, own in taken.items():
            print(f"  {name:<22}{own.wall / base:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
