"""The teacher's images made by the workers of a Ray cluster, one on each GPU, or on each CPU where there are no GPUs.

Workers read the decoded images from the cache and write to its stores, so all machines need that folder; only numbers
of images travel between them. The images of a worker that ends are made by a new one.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from hkdsr.data.derived import JoinedStores
from hkdsr.data.store import ImageStore, default_cache
from hkdsr.devices import runs_in_bf16
from hkdsr.errors import HkdsrError
from hkdsr.methods.plain import Plain
from hkdsr.nets.exits import NetworkWithExits
from hkdsr.paths import is_file, is_folder
from hkdsr.settings.recipe import DistillRecipe
from hkdsr.training.context import Context
from hkdsr.training.images import with_variants
from hkdsr.training.label import context_of
from hkdsr.training.labelling import announce, fill, open_stores
from hkdsr.training.run import exits_of_teacher, loaded_teacher
from hkdsr.training.teacher import place

TOGETHER = 16
"""Images that a worker is given at once, at most."""
TRIES = 3
"""Workers that may end while they make the same images."""


@dataclass(frozen=True)
class Task:
    """What a worker has to know: the recipe, the folder of its decoded images, and what the driver found out."""

    recipe: DistillRecipe
    uses_exits: bool
    decoded: Path
    is_target: bool

    @classmethod
    def of(cls, recipe: DistillRecipe, uses_exits: bool, decoded: Path, is_target: bool) -> Task:
        """With absolute paths, as workers have folders of their own, and without the method, which may be of a file."""
        cache = Path(os.path.abspath(recipe.data.cache or default_cache()))
        teacher = recipe.teacher
        if isinstance(teacher, str | Path):
            file, colon, rest = str(teacher).partition(":")
            teacher = f"{os.path.abspath(file)}{colon}{rest}" if is_file(file) else teacher
        data = dataclasses.replace(recipe.data, cache=cache)
        recipe = dataclasses.replace(recipe, method=Plain(), teacher=teacher, data=data)
        return cls(recipe, uses_exits, Path(os.path.abspath(decoded)), is_target)


class Worker:
    """Makes the teacher's images in a process of its own, and lists them in a log of the name ``writer``."""

    def __init__(self, task: Task, writer: str) -> None:
        self._task, self._writer = task, writer

    def bf16(self) -> bool:
        """Whether the teacher runs in bf16 here."""
        return runs_in_bf16(self._task.recipe.training.precision, self._context.device)

    def label(self, indices: Sequence[int], bf16: bool) -> None:
        """Make the images that are missing. Raises HkdsrError as ``hkdsr.label`` does."""
        if bf16 != self.bf16():
            raise HkdsrError(
                "some workers of the Ray cluster compute in bf16 and others do not: set training.precision to 'fp32' "
                "or 'bf16'"
            )
        network, store, stored = self._prepared
        missing = [index for index in indices if not stored.has(index)]
        fill(stored, network, store, missing, self._context.device, bf16, progress=False)

    # Made when they are first needed: an error in a constructor would reach the driver as the end of the worker.
    @cached_property
    def _context(self) -> Context:
        return context_of(self._task.recipe)

    @cached_property
    def _prepared(self) -> tuple[NetworkWithExits, ImageStore, JoinedStores]:
        task, recipe = self._task, self._task.recipe
        cache = recipe.data.cache
        assert cache is not None
        if not is_folder(task.decoded):
            raise HkdsrError(
                f"a worker of the Ray cluster does not see {task.decoded}: set data.cache to a folder that all its "
                "machines share"
            )
        store = with_variants(ImageStore(task.decoded), recipe, cache)
        teacher = loaded_teacher(recipe)
        network = exits_of_teacher(recipe, teacher, task.uses_exits, store, self._context, task.is_target)
        stored = open_stores(network, store, cache, "cached", self.bf16(), self._writer)
        assert stored is not None
        place(network, self._context.device)
        return network, store, stored


def labelled_on_ray(
    task: Task, address: str, network: NetworkWithExits, store: ImageStore, cache: Path
) -> JoinedStores:
    """The complete stores of the images of ``network``, filled by the workers of the cluster at ``address``.

    Raises HkdsrError if Ray is not installed or has no cluster there, if a worker does not see the cache, and if
    workers end again and again.
    """
    with _connected(address) as ray:
        workers = _Workers(ray, task)
        first = workers.started()
        try:
            bf16 = workers.result(first.bf16.remote())
        except ray.exceptions.RayActorError as error:
            raise HkdsrError(
                "the workers of the Ray cluster do not start: install the same version of hkdsr on all its machines, "
                "and read Ray's logs"
            ) from error
        stored = open_stores(network, store, cache, "cached", bf16)
        assert stored is not None
        if missing := stored.missing:
            count = min(workers.most, len(missing))
            announce(missing, cache, count)
            workers.run([first, *(workers.started() for _ in range(count - 1))], missing, bf16)
            stored.refresh()
    if stored.missing:
        raise HkdsrError(
            f"{cache} lacks images that workers of the Ray cluster have made: set data.cache to a folder that all "
            "machines of the cluster share"
        )
    stored.tidy()
    return stored


class _Workers:
    """Starts workers and gives them images. ``most`` is the number of them that the cluster has room for."""

    def __init__(self, ray: ModuleType, task: Task) -> None:
        self._ray, self._task, self._number = ray, task, 0
        settings, resources = task.recipe.training, ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if settings.device in ("auto", "cuda") else 0
        threads = settings.threads or 1
        self.most = gpus or max(1, int(resources.get("CPU", 1)) // threads)
        self._kind = ray.remote(Worker).options(num_cpus=threads, num_gpus=1 if gpus else 0)

    def started(self) -> Any:
        """A new worker, with a number that no other has had."""
        self._number += 1
        return self._kind.remote(self._task, f"ray-{self._number}")

    def result(self, call: Any) -> Any:
        """What a worker has found. Raises HkdsrError with the worker's sentence."""
        try:
            return self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, HkdsrError):
                raise HkdsrError(str(error.cause)) from error
            raise

    def run(self, workers: Sequence[Any], missing: Sequence[int], bf16: bool) -> None:
        """Have all ``missing`` images made; each worker gets further ones as soon as it is free."""
        size = max(1, min(TOGETHER, len(missing) // (4 * len(workers))))
        waiting = deque(list(missing[start : start + size]) for start in range(0, len(missing), size))
        free, busy, ended = list(workers), {}, Counter[int]()
        with tqdm(total=len(missing), desc="teacher's images", unit="image", disable=None) as bar:
            while waiting or busy:
                while waiting and free:
                    worker, images = free.pop(), waiting.popleft()
                    busy[worker.label.remote(images, bf16)] = worker, images
                (done, *_), _ = self._ray.wait(list(busy))
                worker, images = busy.pop(done)
                try:
                    self.result(done)
                    bar.update(len(images))
                    free.append(worker)
                except self._ray.exceptions.RayActorError as error:
                    ended[images[0]] += 1
                    if ended[images[0]] == TRIES:
                        raise HkdsrError(
                            f"{TRIES} workers of the Ray cluster have ended while they made the same images, perhaps "
                            "for lack of memory: read Ray's logs, then run the same command again to continue"
                        ) from error
                    waiting.appendleft(images)
                    free.append(self.started())


@contextmanager
def _connected(address: str) -> Iterator[ModuleType]:
    """Ray, connected to the cluster; a connection that was there before stays as it is."""
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise HkdsrError("--ray is given but ray is missing: pip install 'hkdsr[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise HkdsrError(
            f"there is no Ray cluster at '{address}' ({type(error).__name__}): start one with ray start --head, or use "
            "--ray local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
