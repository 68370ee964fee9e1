"""Whether a teacher keeps what its LR images show, measured when a distillation starts; it decides the target.

The teacher's images of a few training crops are reduced again and compared with the crops. Networks trained for PSNR
give 55 dB and more, plain enlargements about 40, networks trained with a discriminator (GANs) 28 to 35, and broken
or random ones 5 to 15. What a GAN adds to images is in no ground truth: its student learns from its images instead.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hkdsr.data.resize import imresize
from hkdsr.data.store import ImageStore
from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for
from hkdsr.nets.base import Network
from hkdsr.nets.sanity import name_of, require_image
from hkdsr.settings.degrade import Degrade
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.context import Context
from hkdsr.training.start_crops import mean_psnr, start_crops

logger = logging.getLogger(__name__)

ODD, CHANGING = 20.0, 45.0
"""Below the first, in dB, a teacher is refused; below the second it changes images."""
CROPS, SIDE = 8, 48
FIDELITY = "teacher_fidelity"
"""Key in the metadata of checkpoints and weights: the fidelity of the teacher in dB."""


@dataclass(frozen=True)
class Checked:
    """What was found about a teacher: its ``fidelity`` in dB, None in runs of versions without this check.

    ``is_target``: the student is trained to the teacher's images, not to the ground truth.
    """

    fidelity: float | None
    is_target: bool

    @property
    def facts(self) -> dict[str, str]:
        """For the metadata of the run."""
        return {} if self.fidelity is None else {FIDELITY: str(self.fidelity)}


def check_teacher(recipe: DistillRecipe, network: Network, name: str, store: ImageStore, context: Context) -> Checked:
    """Measure the teacher ``name``, or take what was measured when the run began; then choose the target.

    The network ends on the CPU. Raises HkdsrError for a teacher below 20 dB unless ``allow_odd_teacher`` is set.
    """
    if context.found:
        # Another device rounds otherwise: a run that is continued keeps its target.
        known = context.found.metadata.get(FIDELITY)
        found = None if known is None else float(known)
    else:
        found = context.processes.agreed(fidelity(network, store, context.device, recipe.degrade))
        _report(found, recipe, name)
    return Checked(found, is_target(recipe, found, store))


def is_target(recipe: DistillRecipe, found: float | None, store: ImageStore) -> bool:
    """Whether the student learns from the images of a teacher whose fidelity is ``found``, not from HR."""
    changes = found is not None and found < CHANGING
    return not store.has_hr or recipe.target == "teacher" or (recipe.target == "auto" and changes)


@torch.inference_mode()
def fidelity(network: Network, store: ImageStore, device: torch.device, degrade: Degrade | None = None) -> float:
    """PSNR in dB of the network's images of a few training crops, reduced again, against the crops.

    The crops are always the same. The network runs on ``device`` and ends on the CPU. Raises HkdsrError for images
    that are none.
    """
    lr = start_crops(store, degrade=degrade, count=CROPS, side=SIDE).lr.to(device)
    network.to(device)
    with needed_for(f"the check of {name_of(network)}", "choose a smaller teacher, or free memory"):
        sr = torch.cat([network(crop) for crop in lr.split(1)]).float()
    network.cpu()
    require_image(sr, name_of(network))
    return round(mean_psnr(imresize(sr.clamp(0, 1), 1 / network.scale), lr), 2)


def remark(facts: Mapping[str, str]) -> str:
    """A sentence for tables of scores if the teacher of a run with these ``facts`` changes images; else empty."""
    found = float(facts.get(FIDELITY, CHANGING))
    if found >= CHANGING:
        return ""
    return (
        f"The teacher changes images (reduced again, they equal the LR images within {found:.1f} dB only): PSNR and "
        "SSIM against HR are no ranking here."
    )


def _report(found: float, recipe: DistillRecipe, name: str) -> None:
    if found < ODD and not recipe.allow_odd_teacher:
        raise HkdsrError(
            f"the images of the teacher {name}, reduced again, equal the LR images within {found:.1f} dB only, as "
            "those of broken or untrained networks: give another file, or set allow_odd_teacher"
        )
    if found < CHANGING:
        targets = {
            "auto": "Its images are the target in place of HR (target = 'hr' keeps HR)",
            "teacher": "Its images are the target",
            "hr": "The target is HR nevertheless",
        }
        logger.warning(
            "This teacher changes images (%.1f dB; teachers trained for PSNR have 55 or more). %s, and PSNR against "
            "HR is no ranking.",
            found,
            targets[recipe.target],
        )
