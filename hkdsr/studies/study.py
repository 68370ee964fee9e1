"""A study compares methods and initialisations on one teacher, student and data set, at equal steps or equal time."""

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
from hkdsr.settings.choices import Init, MethodFade, Target
from hkdsr.settings.degrade import Degrade
from hkdsr.settings.durations import duration
from hkdsr.settings.fields import CONTENT, FREE, accept_single_values
from hkdsr.settings.recipe import Data, DistillRecipe, ExitSettings, Training
from hkdsr.settings.toml import read_recipe, read_toml
from hkdsr.training.requirements import require_suitable

TEACHER = "teacher"
MEASUREMENT = "measurement"
"""The task of a study with budgets that measures how long a step of each row takes."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a method and what its student starts from."""

    label: str = ""
    """Name of the row in the table, and of its runs' folders."""
    method: Method = field(default_factory=Plain)
    """As in a recipe: ``[rows.method] name = "hkdsr"`` and the method's own settings."""
    init: Init = "scratch"
    """First weights of the student, as in a recipe: ``scratch``, ``slice``, ``drop``, ``prune`` or ``student``."""
    init_from: Path | None = field(default=None, metadata=CONTENT)
    """The checkpoint to start from where ``init`` is ``student``."""
    exits: ExitSettings | None = None
    """Exits of this row, ``[rows.exits]``, in place of all those of the study."""
    share: float | None = None
    """Part of the training images that this row uses, in place of ``data.share``: a method then pays for the teacher's
    images of these alone."""
    method_from: float = 0.0
    """As in a recipe: the share of the steps after which the method begins."""
    method_until: float = 1.0
    """As in a recipe: the share of the steps after which the method ends."""
    method_fade: MethodFade = "none"
    """As in a recipe: ``none``, ``out`` or ``in``."""

    @property
    def is_plain(self) -> bool:
        """Whether this row's student gets nothing from the teacher: no distillation, no initialisation."""
        return self.method == Plain() and self.init == "scratch" and self.share is None

    @property
    def short_name(self) -> str:
        """The label as it begins the names of the row's folders."""
        return re.sub(r"[^a-z0-9]+", "-", self.label.lower().replace("+", " plus ")).strip("-")


CONTROL_ROWS = (Row("plain, longer"), Row("slice init, plain, longer", init="slice"))
"""Plain training for longer; see ``hkdsr.studies.controls``."""


@dataclass(frozen=True)
class Study:
    """Every row is trained with every seed; all other settings are those of ``hkdsr distill``, equal for all rows.

    Raises HkdsrError for two rows with the same name and for seeds or sets given twice.
    """

    teacher: str = ""
    """As in a recipe."""
    scale: int = 2
    """As in a recipe."""
    student: str = DistillRecipe.student
    """As in a recipe."""
    out: Path = field(default=Path("runs/study"), metadata=FREE)
    """Folder for the leaderboard and for the runs, each in a folder of its own."""
    data: Data = field(default_factory=Data)
    """As in a recipe."""
    training: Training = field(default_factory=Training)
    """The same for every row; its ``seed`` is replaced by each of ``seeds``."""
    exits: ExitSettings = field(default_factory=ExitSettings)
    """As in a recipe."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Every row is trained once with each of these seeds."""
    budgets: tuple[str, ...] = ()
    """Equal time instead of equal steps: durations as ``240 s``, ``15 min`` or ``1 h``. For each of them every row is
    trained for as many steps as fit into it once the row's preparation is paid (pruned start, the teacher's exits and
    images). What a step and the preparation take is measured first; ``training.steps`` must not be set."""
    root: Path = field(default=Path("benchmarks"), metadata=FREE)
    """Folder that holds the benchmark sets."""
    sets: tuple[str, ...] = ("Set5", "Set14", "B100", "Urban100")
    """Names of the sets' folders in ``root``."""
    rows: tuple[Row, ...] = ()
    """The rows of the table, each a ``[[rows]]`` table."""
    longer_steps: int | None = None
    """Steps of the control rows. By default plain training takes as many seconds as the slowest row; 0: no control
    rows. A study with budgets has none, as it compares at equal time."""
    published: str = ""
    """Published tables to show below the study's own, such as ``rcan x4``."""
    target: Target = "auto"
    """As in a recipe: ``auto``, ``hr`` or ``teacher``."""
    allow_odd_teacher: bool = field(default=False, metadata=FREE)
    """As in a recipe."""
    teacher_taps: tuple[str, ...] = ()
    """As in a recipe."""
    teacher_reduce: int = 1
    """As in a recipe."""
    degrade: Degrade = field(default_factory=Degrade)
    """As in a recipe, for all rows. The sets are scored with LR images as they are found or made by bicubic."""

    def __post_init__(self) -> None:
        accept_single_values(self)
        if not self.rows:
            raise HkdsrError("the study has no rows: add [[rows]], each with a label and a method")
        if self.budgets and (own := [row.label for row in self.rows if row.exits]):
            raise HkdsrError(f"the row '{own[0]}' has exits of its own, which a study with budgets cannot measure")
        for row in self.rows:
            if not row.short_name:
                raise HkdsrError(f"the label of a row is {row.label!r}: give each row a label of letters or digits")
        names = [row.short_name for row in (*self.rows, *CONTROL_ROWS, Row(BICUBIC), Row(TEACHER))]
        if twice := repeated(names):
            raise HkdsrError(f"two rows, or one and a row of every study, have the name '{twice[0]}': change a label")
        if len(set(self.seconds.values())) < len(self.budgets):
            raise HkdsrError(f"budgets has a duration twice ({', '.join(self.budgets)}): name each once")
        if self.budgets and self.longer_steps is not None:
            raise HkdsrError(
                f"longer_steps is {self.longer_steps} in a study with budgets: leave it out, as these need no controls"
            )
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
        """The plain row, which all others are compared with; None if the study has none."""
        return next((row for row in self.rows if row.is_plain), None)

    @property
    def seconds(self) -> dict[str, float]:
        """The budgets in seconds, by their texts."""
        return {text: duration("budgets", text) for text in self.budgets}


@dataclass(frozen=True)
class Task:
    """What one process does: train a student by ``recipe`` and score it, or score a reference where that is None."""

    name: str
    """The task's folder within the study's folder."""
    label: str
    recipe: DistillRecipe | None = None


def read_study(path: Path) -> Study:
    """The study in a TOML file. Raises HkdsrError naming the file and the setting for every mistake."""
    study = read_recipe(path, Study)
    if study.budgets and "steps" in read_toml(path).get("training", {}):
        raise HkdsrError(f"{path} sets budgets and training.steps: leave out training.steps, which the budgets decide")
    if not study.teacher:
        raise HkdsrError(f"teacher is missing in {path}: set it to a checkpoint or a shipped network")
    for row in study.rows:
        try:
            for task in trainings(study, [row], study.training.steps):
                if task.recipe:
                    require_suitable(task.recipe)
        except HkdsrError as error:
            raise HkdsrError(f"{path}, row '{row.label}': {error}") from error
    return study


def references() -> list[Task]:
    """The tasks of bicubic enlargement and the teacher, which are scored once."""
    return [Task(BICUBIC, BICUBIC), Task(TEACHER, TEACHER)]


def trainings(study: Study, rows: Iterable[Row], steps: int) -> list[Task]:
    """Every row with every seed, all rows of the first seed first: a study that is stopped early has compared all."""
    rows = list(rows)
    return [training(study, row, seed, steps) for seed in study.seeds for row in rows]


def training(study: Study, row: Row, seed: int, steps: int) -> Task:
    """One row with one seed; where ``steps`` are not those of the study, the folder's name ends in them."""
    longer = "" if steps == study.training.steps else f"-{steps}"
    return run_of(study, row, f"{row.short_name}{longer}-{seed}", seed, steps, row.exits or study.exits)


def run_of(study: Study, row: Row, name: str, seed: int, steps: int, exits: ExitSettings) -> Task:
    """The run of one row with one seed in the folder ``name``."""
    data = dataclasses.replace(study.data, val_kept=study.data.val_kept or 0)
    if row.share is not None:
        data = dataclasses.replace(data, share=row.share)
    recipe = DistillRecipe(
        teacher=study.teacher,
        scale=study.scale,
        student=study.student,
        out=study.out / name,
        data=data,
        training=dataclasses.replace(study.training, seed=seed, steps=steps),
        exits=exits,
        target=study.target,
        allow_odd_teacher=study.allow_odd_teacher,
        teacher_taps=study.teacher_taps,
        teacher_reduce=study.teacher_reduce,
        degrade=study.degrade,
        method=row.method,
        init=row.init,
        init_from=row.init_from,
        method_from=row.method_from,
        method_until=row.method_until,
        method_fade=row.method_fade,
    )
    return Task(name, row.label, recipe)


def describe_row(row: Row) -> str:
    """The row's method, where it is not used in all steps when it is, and the row's share of the training images."""
    parts = [describe_method(row.method)]
    if (row.method_from, row.method_until) != (0.0, 1.0):
        parts.append(f"from {100 * row.method_from:g} % to {100 * row.method_until:g} % of the steps")
    if row.method_fade != "none":
        parts.append(f"fading {row.method_fade}")
    if row.share is not None:
        parts.append(f"{100 * row.share:g} % of the images")
    return ", ".join(parts)


def describe_method(method: Method) -> str:
    """A method's name with the settings that are not its defaults and its remarks."""
    if isinstance(method, Composed):
        return " + ".join(map(describe_method, method.parts.values()))
    changed = [
        f"{setting.name} {getattr(method, setting.name)}"
        for setting in dataclasses.fields(method)
        if getattr(method, setting.name) != _default(setting)
    ]
    details = ", ".join([*changed, *method.remarks])
    return f"{method_name(method)} ({details})" if details else method_name(method)


def repeated(names: Iterable[object]) -> list[object]:
    """The names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def _default(setting: dataclasses.Field[object]) -> object:
    return setting.default_factory() if callable(setting.default_factory) else setting.default
