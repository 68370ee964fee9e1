"""Sums of methods: all their loss terms, with common terms counted once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import cache
from math import gcd
from typing import TYPE_CHECKING

from hkdsr.errors import HkdsrError
from hkdsr.methods.base import Method, Strides
from hkdsr.settings.choices import Init

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hkdsr.methods.inputs import LossInputs
    from hkdsr.nets.base import Network
    from hkdsr.nets.exits import Outputs

COUNTED_ONCE = ("pixel", "logits")


@dataclass(frozen=True)
class Composed(Method):
    """A sum of methods, which are its fields; ``compose`` and ``composed_class`` make such classes.

    Of the terms named ``pixel``, only that of the first part with such a term is used, with that part's weight; the
    same holds for ``logits``. A term whose name is already in use gets the part's name as a prefix. Each part gets only
    the features, teachers and exits that it declares. All parts share one set of exits.
    """

    @property
    def parts(self) -> dict[str, Method]:
        """The methods by the names of their fields, which are those of their tables in TOML."""
        return {setting.name: getattr(self, setting.name) for setting in fields(self)}

    @property
    def uses_exits(self) -> bool:
        return any(part.uses_exits for part in self.parts.values())

    @property
    def feature_depths(self) -> tuple[float, ...]:
        """The depths of all parts, in their order."""
        return tuple(depth for part in self.parts.values() for depth in part.feature_depths)

    @property
    def stores_features(self) -> bool:
        """Whether all parts that need features do."""
        needing = [part for part in self.parts.values() if part.feature_depths]
        return bool(needing) and all(part.stores_features for part in needing)

    @property
    def strides(self) -> Strides:
        """The largest strides that reach all images that any part needs; each part gets those of its own strides."""
        kinds = self.parts.values()
        return Strides(
            gcd(*(part.strides.exits for part in kinds if part.uses_exits)) or 1,
            gcd(*(part.strides.features for part in kinds if part.feature_depths)) or 1,
        )

    @property
    def more_teachers(self) -> tuple[str, ...]:
        """The further teachers of all parts, each once."""
        return tuple(dict.fromkeys(path for part in self.parts.values() for path in part.more_teachers))

    @property
    def more_files(self) -> tuple[str, ...]:
        """The files of all parts, in their order."""
        return tuple(path for part in self.parts.values() for path in part.more_files)

    def resolved(self, scale: int, init: Init = "scratch") -> Composed:
        return replace(self, **{name: part.resolved(scale, init) for name, part in self.parts.items()})

    def heads(self, student: Network, teachers: tuple[Network, ...], exits: int) -> nn.Module | None:
        """The heads of the parts by the parts' names; None if no part has heads."""
        from torch import nn

        heads: dict[str, nn.Module] = {}
        for name, part in self.parts.items():
            own = part.heads(student, self._teachers(part, teachers), exits if part.uses_exits else 0)
            if own is not None:
                heads[name] = own
        return nn.ModuleDict(heads) if heads else None

    def before_step(self, heads: nn.Module | None, student: Network, step: int) -> None:
        for name, part in self.parts.items():
            part.before_step(_of(heads, name), student, step)

    def losses(self, heads: nn.Module | None, inputs: LossInputs) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        start = 0
        for name, part in self.parts.items():
            features = slice(start, start + len(part.feature_depths))
            start = features.stop
            for term, value in part.losses(_of(heads, name), self._inputs(part, inputs, features)).items():
                if term not in terms:
                    terms[term] = value
                elif term not in COUNTED_ONCE:
                    terms[f"{name}_{term}"] = value
        return terms

    def _inputs(self, part: Method, inputs: LossInputs, features: slice) -> LossInputs:
        from hkdsr.methods.inputs import every

        # Both strides are multiples of the common ones, if the part uses any of these outputs.
        of_exits, of_features = (max(own // common, 1) for own, common in zip(part.strides, self.strides, strict=True))

        def declared(outputs: Outputs) -> Outputs:
            return replace(
                outputs,
                exits=tuple(every(of_exits, image) for image in outputs.exits) if part.uses_exits else (),
                features=tuple(every(of_features, feature) for feature in outputs.features[features]),
            )

        return replace(
            inputs,
            student=declared(inputs.student),
            teacher=declared(inputs.teacher) if inputs.teacher is not None and part.uses_teacher else None,
            teacher_networks=self._teachers(part, tuple(inputs.teacher_networks)),
        )

    def _teachers(self, part: Method, teachers: tuple[Network, ...]) -> tuple[Network, ...]:
        if not (teachers and part.uses_teacher):
            return ()
        return teachers[0], *(teachers[1 + self.more_teachers.index(path)] for path in part.more_teachers)


def compose(*methods: Method) -> Composed:
    """The sum of methods; the same as ``[method] name = ["...", "..."]`` in a recipe.

    Raises HkdsrError for no method and for two of the same class.
    """
    from hkdsr.methods import method_name

    parts = [part for m in methods for part in (m.parts.values() if isinstance(m, Composed) else (m,))]
    return composed_class(tuple((method_name(part), type(part)) for part in parts))(*parts)


@cache
def composed_class(kinds: Sequence[tuple[str, type[Method]]]) -> type[Composed]:
    """The class of a sum of methods, given as pairs (name, class); the same object for the same pairs.

    A name that is not a Python identifier is changed into one: the settings of ``hkdsr+`` are in
    ``[method.hkdsr_plus]``.

    Raises HkdsrError for no pair and for a name that occurs twice.
    """
    if not kinds:
        raise HkdsrError("method.name is an empty list: name at least one method")
    names = [name for name, _ in kinds]
    if twice := [name for name in names if names.count(name) > 1]:
        raise HkdsrError(f"method.name has '{twice[0]}' twice: name each method once")
    return make_dataclass(
        "_".join(kind.__name__ for _, kind in kinds),
        [(re.sub(r"\W", "_", name.replace("+", "_plus")), kind, field(default_factory=kind)) for name, kind in kinds],
        bases=(Composed,),
        namespace={
            "__doc__": f"The sum of {', '.join(names)}.",
            "__module__": __name__,
            "uses_teacher": any(kind.uses_teacher for _, kind in kinds),
            "uses_networks": any(kind.uses_networks for _, kind in kinds),
        },
        frozen=True,
    )


def _of(heads: nn.Module | None, name: str) -> nn.Module | None:
    return dict(heads.named_children()).get(name) if heads is not None else None
