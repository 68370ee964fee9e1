"""The pruned start of every family: the teacher where nothing is cut, nearer to it than slices where something is."""

from __future__ import annotations

import pytest
import torch
from small import SMALL, refusal, scattered, small
from torch import Tensor

from hkdsr.data import imresize, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.nets import FAMILIES, Network
from hkdsr.nets.files.load import build, digest
from hkdsr.nets.start.initialise import initialise
from hkdsr.nets.start.prune.blocks import choose_blocks, dropped_run
from hkdsr.nets.start.prune.cut import fill
from hkdsr.nets.start.prune.families import wiring
from hkdsr.nets.start.prune.prune import prune

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")

# By family: a wider and deeper teacher, and a student of about half its width and half its blocks.
CUT = {
    "bsrn": ("features=32,blocks=4", "features=16,blocks=2"),
    "compact": ("features=12,convs=4", "features=6,convs=3"),
    "edsr": ("features=12,blocks=4", "features=6,blocks=2"),
    "hitsrf": (
        "features=48,groups=2,blocks=2,heads=2,mlp_dim=24",
        "features=32,groups=1,blocks=2,heads=2,mlp_dim=12",
    ),
    "hpinet": ("dim=12,blocks=2,layers=1,qk_dim=8,mlp_dim=12", "dim=6,blocks=1,layers=1,qk_dim=4,mlp_dim=6"),
    "imdn": ("features=32,blocks=4", "features=16,blocks=2"),
    "msrresnet": ("features=16,blocks=4", "features=8,blocks=2"),
    "rcan": ("groups=4,blocks=1,features=12,reduction=4", "groups=2,blocks=1,features=6,reduction=3"),
    "rlfn": ("features=12,blocks=4,esa_channels=4", "features=6,blocks=2,esa_channels=3"),
    "smfanet": ("dim=12,blocks=4,ffn_scale=2.0", "dim=6,blocks=2,ffn_scale=2.0"),
    "span": ("features=12,blocks=4", "features=6,blocks=2"),
    "swinir": (
        "features=12,groups=2,blocks=2,heads=2,upsampler=pixelshuffledirect",
        "features=6,groups=1,blocks=2,heads=2,upsampler=pixelshuffledirect",
    ),
}


def photographs(scale: int, count: int = 12, side: int = 24) -> tuple[Tensor, Tensor]:
    """LR (count, 3, side, side) and HR crops of real photographs in [0, 1]."""
    training, _ = demo_files()
    images = [torch.from_numpy(rgb(path).copy()).permute(2, 0, 1).float() / 255 for path in training.values()]
    crops = []
    for index in range(count):
        image = images[index % len(images)]
        top, left = 37 * index % (image.shape[1] - side * scale), 53 * index % (image.shape[2] - side * scale)
        crops.append(image[:, top : top + side * scale, left : left + side * scale])
    hr = torch.stack(crops)
    return imresize(hr, 1 / scale).clamp(0, 1), hr


def taught(description: str, scale: int, lr: Tensor, hr: Tensor) -> Network:
    """A teacher after a few steps, so that its layers do something."""
    teacher = build(description, scale).train()
    optimiser = torch.optim.Adam(teacher.parameters(), 3e-3)
    for _ in range(30):
        loss = (teacher(lr[:4]) - hr[:4]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return teacher.eval().requires_grad_(False)


def error(network: Network, lr: Tensor, wanted: Tensor) -> float:
    with torch.no_grad():
        return float((network(lr) - wanted).square().mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_start_without_a_cut_is_the_teacher(family: str) -> None:
    teacher, student = small(family), small(family)
    for parameter in teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32)
    prune(student, teacher, lr, hr)
    assert digest(student.state_dict()) == digest(teacher.state_dict())


@pytest.mark.parametrize(("family", "scale"), [(f, 2 + i % 3) for i, f in enumerate(FAMILIES)])
def test_on_photographs_a_pruned_start_is_better_than_slices(family: str, scale: int) -> None:
    wide, narrow = (f"{family}:{settings}" for settings in CUT[family])
    lr, hr = photographs(scale)
    teacher = taught(wide, scale, lr, hr)
    pruned, again, sliced = (build(narrow, scale).eval() for _ in range(3))
    before = torch.get_rng_state()
    prune(pruned, teacher, lr[:10], hr[:10])
    assert torch.equal(torch.get_rng_state(), before)
    initialise(sliced, "slice", teacher)
    held_out = error(pruned, lr[10:], hr[10:])
    assert held_out < error(sliced, lr[10:], hr[10:])
    assert held_out < 2 * error(teacher, lr[10:], hr[10:])
    prune(again, teacher, lr[:10], hr[:10])
    assert digest(again.state_dict()) == digest(pruned.state_dict())


def test_a_student_without_gates_is_solved_to_what_the_gates_let_through() -> None:
    lr, hr = photographs(2)
    teacher = taught("rlfn:features=12,blocks=3,esa_channels=4", 2, lr, hr)
    pruned, sliced = (build("rlfn:features=8,blocks=2,esa_channels=0", 2).eval() for _ in range(2))
    prune(pruned, teacher, lr[:10], hr[:10])
    initialise(sliced, "slice", teacher)
    assert error(pruned, lr[10:], hr[10:]) < min(error(sliced, lr[10:], hr[10:]), 2 * error(teacher, lr[10:], hr[10:]))
    # Gates that let through the same share everywhere are no loss at all.
    for block in teacher.blocks:
        last = block.get_submodule("esa.conv4")
        torch.nn.init.zeros_(last.get_parameter("weight"))
        torch.nn.init.normal_(last.get_parameter("bias"))
    target = teacher(lr)
    student = build("rlfn:features=12,blocks=3,esa_channels=0", 2)
    prune(student, teacher, lr, target)
    assert error(student, lr, target) < 1e-6 * float(target.var())


WIDER = {
    "compact": "features=14,convs=4",
    "edsr": "features=14,blocks=4",
    "imdn": "features=36,blocks=4",
    "rlfn": "features=14,blocks=4,esa_channels=4",
    "smfanet": "dim=14,blocks=4,ffn_scale=2.0",
}


@pytest.mark.parametrize("family", WIDER)
def test_channels_that_do_nothing_are_the_ones_removed(family: str) -> None:
    lr, hr = photographs(2, side=16)
    teacher = taught(f"{family}:{CUT[family][0]}", 2, lr, hr)
    wider = build(f"{family}:{WIDER[family]}", 2).eval()
    ours, theirs = wiring(teacher), wiring(wider)
    # All that the wider network has more of is zero, at random places.
    places = {
        group: torch.eye(more.size, dtype=torch.float64)[torch.randperm(more.size)[: group.size]]
        if group.size < more.size
        else torch.eye(group.size, dtype=torch.float64)
        for group, more in zip(ours.groups, theirs.groups, strict=True)
    }
    fill(theirs, ours, places)
    with torch.no_grad():
        target = teacher(lr)
    torch.testing.assert_close(wider(lr), target, rtol=1e-4, atol=1e-4)
    student = build(f"{family}:{CUT[family][0]}", 2)
    prune(student, wider, lr, target)
    assert error(student, lr, target) < 1e-4 * float(target.var())


def test_the_block_that_does_nothing_goes_first() -> None:
    teacher = scattered("edsr:features=6,blocks=5,res_scale=0.3").float()
    with torch.no_grad():
        for parameter in teacher.blocks[1].parameters():
            parameter.zero_()
    lr, _ = photographs(2)
    assert choose_blocks(teacher, lr, 4, lambda: None) == [0, 2, 3, 4]
    assert choose_blocks(teacher, lr, 5, lambda: None) == [0, 1, 2, 3, 4]
    assert choose_blocks(teacher, lr, 1, lambda: None) == [4]


def test_blocks_that_go_together_are_judged_together() -> None:
    assert dropped_run([0, 3, 4], 3) == (1, 3)
    assert dropped_run([2, 4], 2) == (0, 3)


@pytest.mark.parametrize(
    ("student", "teacher", "told"),
    [
        ("compact:features=4", "edsr:features=8", "the teacher is of family edsr and the student of compact"),
        ("edsr:features=9,blocks=2", "edsr:features=8,blocks=2", "has 9 channels and the teacher's 8"),
        ("edsr:features=4,blocks=3", "edsr:features=8,blocks=2", "blocks is 3 in the student and 2 in the teacher"),
        ("swinir:features=8,groups=1,blocks=1,heads=1", "swinir:features=8,groups=1,blocks=1,heads=2", "heads is 1"),
        ("rlfn:features=4,blocks=2", "rlfn:features=8,blocks=2,esa_channels=0", "esa_channels is 16 in the student"),
        ("edsr:features=4,blocks=1,res_scale=0.1", "edsr:features=8,blocks=2", "res_scale is 0.1 in the student"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(student: str, teacher: str, told: str) -> None:
    message = refusal(
        lambda: prune(build(student, 2), build(teacher, 2), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16))
    )
    assert message.startswith("init is 'prune' but ")
    assert told in message


def test_small_has_every_family() -> None:
    assert SMALL.keys() == CUT.keys() == FAMILIES.keys()
