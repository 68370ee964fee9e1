"""Choose the sub-command. Each is a module with a function ``run``, imported only when it is called for.

So ``hkdsr --help`` answers at once, and ``hkdsr info`` does not wait for what only a training needs.
"""

from __future__ import annotations

import sys
from importlib import import_module

from hkdsr import __version__
from hkdsr.cli import output
from hkdsr.errors import HkdsrError
from hkdsr.memory import needed_for

COMMANDS = {
    "distill": "shrink a teacher network into a small student",
    "train": "train a network without a teacher",
    "label": "make the teacher's images before a distillation",
    "compare": "run a study of methods, or show published tables",
    "evaluate": "score a network by the published protocol",
    "upscale": "enlarge an image or a folder of images",
    "app": "open a web page to enlarge images and watch trainings",
    "export": "write a network for other runtimes, if its images stay the same",
    "report": "write a page about a training: scores, images, curves",
    "degrade": "show samples of a degradation",
    "strip": "show networks side by side in one image",
    "info": "settings, cost, taps and receptive field of a network",
}
"""Each is a module of ``hkdsr.cli``."""

RESUMABLE = ("distill", "train", "label", "compare")


def main() -> None:
    """Run the sub-command named on the command line.

    A mistake that the user can correct ends in one sentence on standard error and exit code 2, Ctrl-C in exit code 130.
    """
    arguments = output.configure(sys.argv[1:])
    name, *arguments = arguments or ["--help"]
    if name in ("-h", "--help"):
        output.show(usage())
        return
    if name == "--version":
        output.show(f"hkdsr {__version__}")
        return
    if name not in COMMANDS:
        output.complain(f"hkdsr: unknown command '{name}': choose one of {', '.join(COMMANDS)}")
        sys.exit(2)
    try:
        with needed_for(f"the work of hkdsr {name}", "free memory, or use smaller images or a smaller network"):
            import_module(f"hkdsr.cli.{name}").run(arguments)
    except HkdsrError as error:
        output.complain(f"hkdsr {name}: {error}")
        sys.exit(2)
    except BrokenPipeError:
        output.leave(sys.stdout)  # as in `hkdsr distill --help | head`, whose text is longer than a pipe holds
    except KeyboardInterrupt:
        remedy = "; run the same command again to continue" if name in RESUMABLE else ""
        output.complain(f"hkdsr {name}: interrupted{remedy}")
        sys.exit(130)


def usage() -> str:
    """What ``hkdsr --help`` shows."""
    commands = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
    return (
        "usage: hkdsr COMMAND [RECIPE.toml] [--flags]\n\n"
        f"commands:\n{commands}\n\n"
        "options of every command:\n"
        "  --quiet    show results and mistakes only\n"
        "  --verbose  show more about what is done\n\n"
        "hkdsr COMMAND --help lists every setting."
    )
