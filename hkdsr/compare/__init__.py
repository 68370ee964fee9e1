"""Methods side by side: studies, their leaderboard, and the tables that papers printed.

The package is its own verb: ``hkdsr.compare("study.toml")`` runs a study, as ``hkdsr compare study.toml`` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType


def _compare(study: str | Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """Run the study in a TOML file to its end, or go on with it; returns the path of ``leaderboard.md``.

    ``say`` receives what a user should read. Raises HkdsrError for every mistake a user can mend.
    """
    # Imported here: runs are processes of this package, and would load all of it before their own module.
    from hkdsr.compare.run import compare

    return compare(Path(study), say)


class CallableModule(ModuleType):
    __call__ = staticmethod(_compare)


# As in ``hkdsr.evaluate``: a function of that name would be replaced by this package on the package's first import.
sys.modules[__name__].__class__ = CallableModule
