"""The settings of exits, ``[exits]`` in a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from hkdsr.settings.checks import require_range
from hkdsr.settings.choices import HeadKind, HeadStart, HeadTail, Stage1Trainable, TeacherImages
from hkdsr.settings.fields import accept_single_values


@dataclass(frozen=True)
class ExitSettings:
    """Exits, which are intermediate output images, and stage 1, which trains the teacher's exit heads."""

    student: tuple[float, ...] = (0.3, 0.7)
    """Relative depths of the student's exits, each above 0 and below 1 (the paper: groups 3 and 7 of 10)."""
    teacher: tuple[float, ...] = (0.3, 0.7)
    """Relative depths of the teacher's exits, as many as the student's and matched to them by position."""
    kind: HeadKind = "separate"
    """``separate``: each exit has a head of its own. ``shared``: each exit uses its network's own reconstruction.
    ``teacher_tail``: the student's exits use the teacher's frozen reconstruction, which needs equal widths."""
    tail: HeadTail = "auto"
    """Last layers of a separate head. ``upsampler``: convolutions with pixel shuffles, then RGB at full size (the
    paper). ``shuffle``: one convolution to 3 * scale^2 channels and a pixel shuffle, which costs far less. ``auto``:
    ``upsampler`` if the network itself has one, else ``shuffle``."""
    start: HeadStart = "auto"
    """First output of a separate head. ``bicubic``: the bicubically enlarged LR image, which the head corrects.
    ``plain``: the output of random weights, without the enlarged image (the paper). ``solved``: as ``bicubic``, with
    its last convolution solved by least squares on training crops. ``auto``: ``bicubic``."""
    stage1_steps: int = 1000
    """Training steps of stage 1."""
    stage1_lr: float = 1e-3
    """Learning rate of stage 1, halved after 60 % and 90 % of its steps."""
    stage1_batch: int = 8
    """Crops per step of stage 1."""
    stage1_trainable: Stage1Trainable = "heads"
    """What stage 1 trains. ``heads``: the exit heads; the teacher stays frozen. ``all``: the teacher too."""
    stage1_seed: int = 10
    """Seed of stage 1. It is not that of the student, so that students with different seeds have the same teacher."""
    stage1_include_final: bool = False
    """Add the L1 of the final output to the loss of stage 1; it has an effect only if ``stage1_trainable`` is
    ``all``."""
    allow_weak: bool = False
    """Continue even if an exit of the teacher is no better than bicubic; by default this is an error."""
    teacher_images: TeacherImages = "auto"
    """``cached``: the teacher's output images are computed once for each training image and kept on the disk.
    ``live``: the teacher runs at every step. ``auto``: ``cached`` if they fit on the disk, else ``live``."""

    def __post_init__(self) -> None:
        accept_single_values(self)
        require_range("exits.stage1_steps", self.stage1_steps, 0)
        require_range("exits.stage1_lr", self.stage1_lr, 0)
        require_range("exits.stage1_batch", self.stage1_batch, 1)
        require_range("exits.stage1_seed", self.stage1_seed, 0, 2**31 - 1)
