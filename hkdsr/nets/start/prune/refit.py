"""Solve a student's layers, from the first to the last, to the teacher's on the student's own inputs.

The student runs once. Just before a layer is applied, it is solved by least squares to what the teacher's layer gives
at the same place, at the channels that are kept; so each layer also makes up for what those before it could not follow.
Where the result is added to a stream, it is solved to the teacher's stream less what the student's already holds. The
last layer is solved to the HR images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hkdsr.nets.base import Network
from hkdsr.nets.start.prune.cut import Bases, mixed
from hkdsr.nets.start.prune.least_squares import chunks, output_count, refit, unknowns
from hkdsr.nets.start.prune.wiring import Residual, Solvable, Wiring, side_basis

RIDGE = 1e-4
FEW = 10
"""Positions for each unknown that a layer needs to be solved: others, gates of a whole image above all, are copied."""


class Refit:
    """One pass of a student that solves its layers.

    Args:
        student, teacher: the networks; the student already holds what ``bases`` keep of the teacher's weights.
        short: the teacher cut to the student's depth.
        wirings: those of the student and of ``short``.
        originals: for every module of ``short`` the one of the teacher that it is a copy of.
        blocks: the teacher's blocks that are kept.
        tick: called after every layer.
    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        short: Network,
        wirings: tuple[Wiring, Wiring],
        originals: Mapping[nn.Module, nn.Module],
        blocks: Sequence[int],
        bases: Bases,
        tick: Callable[[], object],
    ) -> None:
        self._student, self._teacher, self._blocks, self._tick = student, teacher, blocks, tick
        own, others = wirings
        # Inside the trunk the cut teacher stands for the teacher: it has the student's windows, where these depend on a
        # block's place.
        inside = {module for block in short.blocks for module in block.modules()}
        self._trunk = short.blocks
        layers = list(zip(own.layers, others.layers, strict=True))
        norms = list(zip(own.norms, others.norms, strict=True))
        residuals = list(zip(own.residuals, others.residuals, strict=True))
        self._last = own.layers[-1].module
        self._layers: list[Solvable] = [*(layer.module for layer in own.layers[:-1]), *(norm for norm, _ in own.norms)]
        self._kept: dict[nn.Module, Tensor] = {}
        copies: dict[nn.Module, nn.Module] = {}
        for layer, other in layers:
            self._kept[layer.module] = side_basis(other.outputs, bases)
            copies[layer.module] = others.results.get(other.module, other.module)
        for (norm, _), (other, side) in norms:
            self._kept[norm], copies[norm] = side_basis(side, bases), other
        for residual, other in residuals:
            self._kept[residual.module] = self._kept[residual.writers[0]]
            copies[residual.module] = other.module
        self._teachers = {module: of if of in inside else originals[of] for module, of in copies.items()}
        self._residuals = own.residuals
        self._adds_to = {writer: residual for residual in own.residuals for writer in residual.writers}
        self._targets: dict[nn.Module, list[Tensor]] = {}
        self._block_inputs: dict[int, list[Tensor]] = {}
        self._streams: dict[int, Tensor] = {}

    @torch.no_grad()
    def run(self, lr: Tensor, hr: Tensor) -> None:
        """Solve the layers on crops ``lr`` (B, 3, h, w) and ``hr`` (B, 3, scale*h, scale*w) in [0, 1]."""
        self._watch(lr)
        inputs: list[Tensor] = []

        def withhold(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
            inputs.append(given[0])
            return torch.zeros_like(result)

        with ExitStack() as hooks:
            self._hook_student(hooks)
            hooks.enter_context(_removed(self._last.register_forward_hook(withhold)))
            without_last = self._student(lr)
        target = (hr - without_last) * self._student.colour_range
        if len(self._last.weight) != hr.shape[1]:
            target = F.pixel_unshuffle(target, self._student.scale)
        refit(self._last, inputs[0], target, RIDGE, thin=False)
        self._tick()

    def _hook_student(self, hooks: ExitStack) -> None:
        handles = [layer.register_forward_pre_hook(self._solve) for layer in self._layers]
        for place, block in enumerate(self._student.blocks):
            handles.append(block.register_forward_pre_hook(partial(self._enter, place)))
        for residual in self._residuals:
            handles.append(residual.start.register_forward_pre_hook(partial(self._begin, residual)))
            handles += [writer.register_forward_hook(partial(self._add, residual)) for writer in residual.writers]
        for handle in handles:
            hooks.enter_context(_removed(handle))

    def _watch(self, lr: Tensor) -> None:
        """Run the teacher; keep what its layers around the trunk give, and the inputs of the kept blocks."""
        inside = {module for block in self._trunk for module in block.modules()}

        def keep(index: int, _: nn.Module, given: tuple[Tensor, ...]) -> None:
            self._block_inputs.setdefault(index, []).append(given[0])

        with ExitStack() as hooks:
            for index in self._blocks:
                hook = self._teacher.blocks[index].register_forward_pre_hook(partial(keep, index))
                hooks.enter_context(_removed(hook))
            self._record(hooks, [layer for layer in self._layers if self._teachers[layer] not in inside])
            for part in chunks(len(lr)):
                self._teacher(lr[part])

    def _enter(self, place: int, *_: object) -> None:
        """Before a block of the student: run the teacher's and keep what its layers give."""
        block = self._trunk[place]
        inside = set(block.modules())
        with ExitStack() as hooks:
            self._record(hooks, [own for own, other in self._teachers.items() if other in inside])
            for x in self._block_inputs.pop(self._blocks[place]):
                block(x)

    def _record(self, hooks: ExitStack, modules: list[nn.Module]) -> None:
        def keep(own: nn.Module, _: nn.Module, __: object, result: Tensor) -> None:
            self._targets.setdefault(own, []).append(mixed(result, self._kept[own], _axis(self._weighted(own))))

        for own in modules:
            hooks.enter_context(_removed(self._teachers[own].register_forward_hook(partial(keep, own))))

    def _weighted(self, module: nn.Module) -> nn.Module:
        """The module itself, or of a stream a layer that adds to it."""
        return next((r.writers[0] for r in self._residuals if r.module is module), module)

    def _begin(self, residual: Residual, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._streams[id(residual)] = given[0]

    def _add(self, residual: Residual, _: nn.Module, __: object, result: Tensor) -> None:
        self._streams[id(residual)] = self._streams[id(residual)] + residual.scale * result

    def _solve(self, module: Solvable, given: tuple[Tensor, ...]) -> None:
        x = given[0]
        target = self._target(module)
        self._tick()
        count = output_count(module, x)
        # What does not depend on the crops, a position bias, has come once from the student and often from the teacher.
        if count < FEW * unknowns(module) or target.numel() != count * len(module.weight):
            return
        refit(module, x, target, RIDGE)

    def _target(self, module: Solvable) -> Tensor:
        residual = self._adds_to.get(module)
        if residual is None:
            return torch.cat(self._targets.pop(module))
        later = residual.writers[residual.writers.index(module) + 1 :]
        after = torch.cat(self._targets[residual.module])
        for writer in later:
            after = after - residual.scale * torch.cat(self._targets[writer])
        if not later:
            self._targets.pop(residual.module)
        self._targets.pop(module)
        return (after - self._streams[id(residual)]) / residual.scale


@contextmanager
def _removed(handle: RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _axis(module: nn.Module) -> int:
    return -1 if isinstance(module, nn.Linear | nn.LayerNorm) else 1
