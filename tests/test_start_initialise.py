"""What a student starts from: every weight is the one it should be, or the user is told why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import SMALL, refusal, scattered, small

from hkdsr.nets import FAMILIES
from hkdsr.nets.files.load import build, digest, save
from hkdsr.nets.start.initialise import initialise

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.mark.parametrize("init", ["slice", "drop"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_the_teacher_is_the_teacher(family: str, init: str) -> None:
    teacher, student = scattered(SMALL[family]), small(family).double()
    assert digest(student.state_dict()) != digest(teacher.state_dict())
    start = initialise(student, init, teacher)  # pyright: ignore[reportArgumentType]
    assert digest(student.state_dict()) == digest(teacher.state_dict())
    count = sum(parameter.numel() for parameter in teacher.parameters())
    source = {"slice": "slices", "drop": "blocks"}[init]
    assert start.sentence() == f"the student starts from {source} of the teacher: {count:,} of its {count:,} weights"


DEEP = {
    "compact": "features=4,convs={}",
    "edsr": "features=4,blocks={}",
    "msrresnet": "features=4,blocks={}",
    "rcan": "groups={},blocks=2,features=4,reduction=2",
    "rlfn": "features=4,blocks={},esa_channels=3",
    "smfanet": "dim=4,blocks={}",
    "imdn": "features=16,blocks={}",
    "bsrn": "features=16,blocks={}",
    "span": "features=4,blocks={}",
    "swinir": "features=4,groups={},blocks=2,heads=2",
    "hpinet": "dim=4,blocks={},layers=2,qk_dim=3,mlp_dim=5",
    "hitsrf": "features=32,groups={},blocks=2,heads=2,mlp_dim=16",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_dropping_keeps_the_chosen_blocks_and_everything_around_them(family: str) -> None:
    teacher = scattered(f"{family}:{DEEP[family].format(6)}")
    student = build(f"{family}:{DEEP[family].format(3)}", 2).double().eval()
    start = initialise(student, "drop", teacher)
    assert (start.copied, start.fresh) == (start.total, ())
    for block, index in zip(student.blocks, (1, 3, 5), strict=True):
        assert digest(block.state_dict()) == digest(teacher.blocks[index].state_dict())
    fused = {"imdn": "c.0.weight", "bsrn": "c1.weight"}.get(family)
    theirs = teacher.state_dict()
    if fused is not None:
        parts = theirs[fused].split(16, dim=1)
        assert torch.equal(student.state_dict()[fused], torch.cat([parts[i] for i in (1, 3, 5)], dim=1))
    # Around the trunk: the same deep features give the same image.
    image, deep = torch.rand(1, 3, 24, 24, dtype=torch.float64), torch.rand(1, 1, 24, 24, dtype=torch.float64)
    deep = deep.expand(1, teacher.channels, 24, 24)
    with torch.no_grad():
        shallow = teacher.shallow(image)
        assert torch.equal(student.shallow(image), shallow)
        assert torch.equal(student.reconstruct(deep, shallow, image), teacher.reconstruct(deep, shallow, image))


def test_blocks_within_groups_are_picked_too() -> None:
    teacher = scattered("rcan:groups=4,blocks=6,features=4,reduction=2")
    student = build("rcan:groups=2,blocks=3,features=3,reduction=2", 2).double()
    initialise(student, "slice", teacher)
    ours, theirs = student.state_dict(), teacher.state_dict()
    for group, from_group in ((0, 1), (1, 3)):
        for block, from_block in ((0, 1), (1, 3), (2, 5)):
            conv = theirs[f"body.{from_group}.body.{from_block}.body.2.weight"]
            assert torch.equal(ours[f"body.{group}.body.{block}.body.2.weight"], conv[:3, :3])
        last = theirs[f"body.{from_group}.body.6.weight"]
        assert torch.equal(ours[f"body.{group}.body.3.weight"], last[:3, :3])
    assert torch.equal(ours["body.2.bias"], theirs["body.4.bias"][:3])
    assert torch.equal(ours["tail.0.0.weight"], theirs["tail.0.0.weight"][:12, :3])
    assert torch.equal(ours["tail.1.weight"], theirs["tail.1.weight"][:, :3])


def test_narrower_heads_are_cut_within_each_head() -> None:
    teacher = scattered("swinir:features=8,groups=1,blocks=1,heads=2,upsampler=pixelshuffledirect")
    student = build("swinir:features=4,groups=1,blocks=1,heads=2,upsampler=pixelshuffledirect", 2).double()
    initialise(student, "slice", teacher)
    name = "layers.0.residual_group.blocks.0.attn"
    ours, theirs = student.state_dict(), teacher.state_dict()
    rows = [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21]
    assert torch.equal(ours[f"{name}.qkv.weight"], theirs[f"{name}.qkv.weight"][rows, :4])
    assert torch.equal(ours[f"{name}.qkv.bias"], theirs[f"{name}.qkv.bias"][rows])
    assert torch.equal(ours[f"{name}.proj.weight"], theirs[f"{name}.proj.weight"][:4, [0, 1, 4, 5]])
    table = f"{name}.relative_position_bias_table"
    assert torch.equal(ours[table], theirs[table])


def test_colour_shifts_of_a_teacher_of_other_images_come_along() -> None:
    teacher, student = scattered("edsr:features=4,blocks=2"), build("edsr:features=3,blocks=1", 2).double()
    teacher.sub_mean.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))  # pyright: ignore
    initialise(student, "slice", teacher)
    assert student.state_dict()["sub_mean.bias"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("source", "scale"), [(2, 4), (2, 3), (4, 2), (2, 2)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_of_another_scale_gives_all_but_its_upsampling(
    family: str, source: int, scale: int, tmp_path: Path
) -> None:
    other, student = scattered(SMALL[family], source, std=0.1).float(), small(family, scale)
    save(other, tmp_path / "other.safetensors")
    before = {name: value.clone() for name, value in student.state_dict().items()}
    start = initialise(student, "student", None, tmp_path / "other.safetensors")
    assert start.sha256 == digest(other.state_dict())
    for block, of in zip(student.blocks, other.blocks, strict=True):
        assert digest(block.state_dict()) == digest(of.state_dict())
    image = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        assert torch.equal(student.shallow(image), other.shallow(image))
    fresh = [name for name, value in student.named_parameters() if torch.equal(value, before[name])]
    layers = tuple(dict.fromkeys(name.rpartition(".")[0] for name in fresh))
    assert start.fresh == layers
    assert start.total - start.copied == sum(before[name].numel() for name in fresh)
    upsampling = {"compact": ("body.10",), "smfanet": ("to_img.0",), "bsrn": ("upsampler.upsampleOneStep.0",)}
    upsampling |= {"edsr": ("tail.0.0",), "rcan": ("tail.0.0",), "hpinet": ("upconv",)}
    upsampling |= dict.fromkeys(("hitsrf", "swinir"), ("upsample.0",))
    expected = upsampling.get(family, ("upsampler.0",))
    if scale == 4:
        expected = {"tail.0.0": ("tail.0.0", "tail.0.2"), "upconv": ("upconv1", "upconv2")}.get(expected[0], expected)
    if family == "msrresnet":  # its first step has one name and shape at x2 and x4
        expected = {(2, 4): ("upconv2",), (2, 3): ("upconv1",)}.get((source, scale), ())
    assert start.fresh == (() if source == scale else expected)


def test_a_start_tells_what_is_fresh(tmp_path: Path) -> None:
    save(build("edsr:features=4,blocks=1", 2), tmp_path / "x2.safetensors")
    start = initialise(build("edsr:features=4,blocks=1", 4), "student", None, tmp_path / "x2.safetensors")
    # A head of 112, three 3x3 convolutions of 148, the last one of 111; two upsampling ones of 592.
    assert start.sentence() == (
        f"the student starts from {tmp_path / 'x2.safetensors'}: 667 of its 1,851 weights, "
        "fresh ones in tail.0.0, tail.0.2"
    )


def test_scratch_leaves_the_student_alone() -> None:
    student = small("compact")
    before = digest(student.state_dict())
    assert initialise(student, "scratch", scattered(SMALL["compact"])).copied == 0
    assert digest(student.state_dict()) == before


def test_no_random_number_is_drawn() -> None:
    """Or a student cut from its teacher would get other heads than one that starts from scratch."""
    teacher, student = small("smfanet"), build("smfanet:dim=4,blocks=2,ffn_scale=2", 2)
    before = torch.get_rng_state()
    initialise(student, "slice", teacher)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("init", "student", "teacher", "told"),
    [
        ("slice", "compact:features=4", "edsr:features=8", "the teacher is of family edsr and the student of compact"),
        (
            "slice",
            "edsr:features=9,blocks=2",
            "edsr:features=8,blocks=2",
            "body.0.weight is (9, 9, 3, 3) in the student",
        ),
        ("slice", "edsr:features=4,blocks=3", "edsr:features=8,blocks=2", "trunk has 3 blocks and the teacher's 2"),
        ("drop", "edsr:features=4,blocks=2", "edsr:features=8,blocks=2", "in the teacher: set init to 'slice', make"),
        ("drop", "imdn:features=16,blocks=2", "imdn:features=32,blocks=2", "set init to 'slice'"),
        ("drop", "edsr:blocks=3", "edsr:blocks=2", "make the student no deeper"),
        (
            "slice",
            "edsr:features=4,blocks=1,res_scale=0.1",
            "edsr:features=8,blocks=2",
            "res_scale is 0.1 in the student and 1.0 in the teacher",
        ),
        (
            "slice",
            "rcan:groups=2,blocks=3,features=4,reduction=2",
            "rcan:groups=2,blocks=2,features=4,reduction=2",
            "the student's body.0.body has 3 blocks and the teacher's 2",
        ),
        (
            "slice",
            "hitsrf:features=32,groups=1,blocks=2,heads=2,mlp_dim=16",
            "hitsrf:features=32,groups=1,blocks=4,heads=2,mlp_dim=16",
            "the student's layers.0.residual_group.blocks has other layers than the teacher's",
        ),
        (
            "slice",
            "swinir:features=4,groups=1,blocks=1,heads=2,upsampler=pixelshuffledirect",
            "swinir:features=8,groups=1,blocks=1,heads=2",
            "the student's conv_before_upsample has other layers than the teacher's",
        ),
        (
            "slice",
            "swinir:features=8,groups=1,blocks=1,heads=4",
            "swinir:features=8,groups=1,blocks=1,heads=2",
            "relative_position_bias_table is (225, 4) in the student",
        ),
    ],
)
def test_pairs_that_do_not_fit_are_told(init: str, student: str, teacher: str, told: str) -> None:
    pair = (build(student, 2), build(teacher, 2))
    message = refusal(lambda: initialise(pair[0], init, pair[1]))  # pyright: ignore[reportArgumentType]
    assert message.startswith(f"init is '{init}' but ")
    assert told in message


def test_other_wrong_starts_are_told(tmp_path: Path) -> None:
    student = build("compact:features=4,convs=2", 3)
    assert "set it to a checkpoint" in refusal(lambda: initialise(student, "student"))
    assert "there is no teacher: set init to" in refusal(lambda: initialise(student, "slice"))
    x2 = build("compact:features=4,convs=2", 2)
    assert "scale is 3 in the student and 2 in the teacher" in refusal(lambda: initialise(student, "slice", x2))
    for description, naming in (
        ("compact:features=5,convs=2", "whose features is 5 and the student's 4"),
        ("compact:features=4,convs=3", "whose convs is 3 and the student's 2"),
        ("edsr:features=4,blocks=2", "whose family is edsr and the student's compact"),
    ):
        file = tmp_path / "other.safetensors"
        save(build(description, 2), file)
        message = refusal(lambda file=file: initialise(student, "student", None, file))
        assert message.startswith(f"init_from is {file}, {naming}: give")
    assert "there is no checkpoint none" in refusal(lambda: initialise(student, "student", None, "none"))


def test_a_foreign_teacher_cannot_be_sliced(tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel")
    from hkdsr.nets.files.spandrel import SpandrelNetwork

    torch.save(build("compact:features=4,convs=2", 2).state_dict(), tmp_path / "net.pth")
    foreign = SpandrelNetwork(spandrel.ModelLoader().load_from_file(tmp_path / "net.pth"))
    student = build("compact:features=4,convs=2", 2)
    assert "the teacher is of family spandrel" in refusal(lambda: initialise(student, "slice", foreign))
