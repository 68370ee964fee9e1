"""A study: methods and initialisations side by side, on one teacher, student, data set and budget."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hkdsr.errors import HkdsrError
from hkdsr.methods import Method, Plain, method_name
from hkdsr.methods.composed import Composed
from hkdsr.scoring import BICUBIC
from hkdsr.settings.choices import Init
from hkdsr.settings.fields import CONTENT, FREE
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training
from hkdsr.settings.toml import read_recipe

TEACHER = "teacher"


@dataclass(frozen=True)
class Row:
    """One line of the table: a method and what its student starts from."""

    label: str = ""
    method: Method = field(default_factory=Plain)
    """As in a recipe: ``[rows.method] name = "hkdsr"`` and the method's own settings."""
    init: Init = "scratch"
    init_from: Path | None = field(default=None, metadata=CONTENT)
    """The checkpoint to start from where ``init`` is ``student``."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing is distilled into this row's student, by whatever way."""
        return self.method == Plain() and self.init == "scratch"

    @property
    def slug(self) -> str:
        """The label as the start of a folder's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.label.lower().replace("+", " plus ")).strip("-")


LONGER = (Row("plain, longer"), Row("slice init, plain, longer", init="slice"))
"""The control rows."""


@dataclass(frozen=True)
class Study:
    """Rows x seeds; all but these is as in a recipe for ``hkdsr distill`` and the same for every row.

    Raises HkdsrError for rows that cannot be told apart or seeds given twice.
    """

    teacher: str = ""
    scale: int = 2
    student: str = DistillRecipe.student
    out: Path = field(default=Path("runs/study"), metadata=FREE)
    """Folder for the runs, one folder each, and for the leaderboard."""
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    """The budget of every row; its ``seed`` is replaced by each of ``seeds``."""
    exits: ExitSettings = field(default_factory=ExitSettings)
    seeds: tuple[int, ...] = (1, 2, 3)
    root: Path = field(default=Path("benchmarks"), metadata=FREE)
    """Folder that holds the benchmark sets."""
    sets: tuple[str, ...] = ("Set5", "Set14", "B100", "Urban100")
    rows: tuple[Row, ...] = ()
    longer_steps: int | None = None
    """Steps of the control rows; by default as many as take the plain row the seconds of the dearest one. 0: no such
    rows."""
    published: str = ""
    """Published numbers to show below the table, such as ``rcan x4``."""

    def __post_init__(self) -> None:
        if not self.rows:
            raise HkdsrError("the study has no rows: add [[rows]], each with a label and a method")
        for row in self.rows:
            if not row.slug:
                raise HkdsrError(f"the label of a row is {row.label!r}: give each row a label of letters or digits")
        slugs = [row.slug for row in (*self.rows, *LONGER, Row(BICUBIC), Row(TEACHER))]
        if twice := repeated(slugs):
            raise HkdsrError(f"two rows are called '{twice[0]}' in short, or the study adds one: change a label")
        for name in ("seeds", "sets"):
            if not getattr(self, name):
                raise HkdsrError(f"{name} is empty: name at least one")
            if twice := repeated(getattr(self, name)):
                raise HkdsrError(f"{name} has {twice[0]} twice: name each once")
        if self.training.steps < 1:
            raise HkdsrError(f"training.steps is {self.training.steps}: set it to 1 or more")
        if self.training.minutes is not None:
            raise HkdsrError("training.minutes is set: leave it out, every row of a study gets the same steps")
        if self.longer_steps and self.longer_steps <= self.training.steps:
            least = self.training.steps + 1
            raise HkdsrError(f"longer_steps is {self.longer_steps}: set it to {least} or more, or to 0 for no controls")

    @property
    def plain(self) -> Row | None:
        """The row that all others are held against."""
        return next((row for row in self.rows if row.is_plain), None)


@dataclass(frozen=True)
class Task:
    """What one process does at a time: train and score a student, or score a reference if there is no ``recipe``."""

    name: str
    """Its folder within the study's."""
    label: str
    recipe: DistillRecipe | None = None


def read_study(path: Path) -> Study:
    """The study of a TOML file. Raises HkdsrError naming the file and the setting for every mistake."""
    study = read_recipe(path, Study)
    if not study.teacher:
        raise HkdsrError(f"{path} names no teacher: set teacher to a checkpoint or a shipped network")
    for row in study.rows:
        try:
            trainings(study, [row], study.training.steps)
        except HkdsrError as error:
            raise HkdsrError(f"{path}, row '{row.label}': {error}") from error
    return study


def references() -> list[Task]:
    """Bicubic enlargement and the teacher, which are scored once."""
    return [Task(BICUBIC, BICUBIC), Task(TEACHER, TEACHER)]


def trainings(study: Study, rows: Iterable[Row], steps: int) -> list[Task]:
    """Rows x seeds, all rows of the first seed first, so that a study cut short has compared all of them."""
    rows = list(rows)
    return [training(study, row, seed, steps) for seed in study.seeds for row in rows]


def training(study: Study, row: Row, seed: int, steps: int) -> Task:
    """One row with one seed; a run of another length than the study's has it in its folder's name."""
    longer = "" if steps == study.training.steps else f"-{steps}"
    name = f"{row.slug}{longer}-{seed}"
    recipe = DistillRecipe(
        teacher=study.teacher,
        scale=study.scale,
        student=study.student,
        out=study.out / name,
        data=study.data,
        training=dataclasses.replace(study.training, seed=seed, steps=steps),
        exits=study.exits,
        method=row.method,
        init=row.init,
        init_from=row.init_from,
    )
    return Task(name, row.label, recipe)


def described(method: Method) -> str:
    """A method's name, the settings that are not its defaults, and what else it wants said."""
    if isinstance(method, Composed):
        return " + ".join(map(described, method.parts.values()))
    changed = [
        f"{setting.name} {getattr(method, setting.name)}"
        for setting in dataclasses.fields(method)
        if getattr(method, setting.name) != _default(setting)
    ]
    said = ", ".join([*changed, *method.remarks])
    return f"{method_name(method)} ({said})" if said else method_name(method)


def repeated(names: Iterable[object]) -> list[object]:
    """Those that come more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def _default(setting: dataclasses.Field[object]) -> object:
    return setting.default_factory() if callable(setting.default_factory) else setting.default
