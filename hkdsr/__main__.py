"""The command line: one verb, one function. Heavy imports wait until a verb runs, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro
from tyro.conf import Positional

from hkdsr import __version__
from hkdsr.config import read_recipe, with_method
from hkdsr.errors import HkdsrError
from hkdsr.methods import METHODS, Method, method_name
from hkdsr.recipe import DistillRecipe, TrainRecipe

if TYPE_CHECKING:
    from hkdsr.training.student import TrainingResult

Settings = TypeVar("Settings")

USAGE = """usage: hkdsr VERB [RECIPE.toml] [--flags]

verbs:
  distill    shrink a teacher network into a small student
  train      train a network without a teacher
  compare    run a study of methods, or show published tables
  evaluate   score a network by the published protocol
  upscale    enlarge a picture or a folder
  export     write a network as ONNX, if its pictures stay the same
  strip      put networks side by side in one picture
  info       parameters, multiply-adds and settings of a network

hkdsr VERB --help lists every setting."""


@dataclass(frozen=True)
class Evaluate:
    """Score a network on benchmark sets by the published protocol (PSNR-Y, SSIM-Y)."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, or 'bicubic'."""
    root: Path
    """Folder that holds the benchmark sets."""
    sets: tuple[str, ...] = ("Set5", "Set14", "B100", "Urban100")
    scale: int | None = None
    """Only needed for 'bicubic'."""
    ensemble: bool = False
    """Average over the 8 flips and rotations (the '+' of published tables)."""
    per_image: bool = False
    """Print every picture's score too."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""


@dataclass(frozen=True)
class Compare:
    """Run a study: methods x seeds on one teacher, student, data set and budget; or show what papers printed.

    Killed and started again, it goes on where it was. Started several times, also on several GPUs (each with its own
    CUDA_VISIBLE_DEVICES), the processes share the work. It ends with leaderboard.md, .json and .svg in the study's
    folder.
    """

    study: Annotated[Positional[Path | None], tyro.conf.arg(metavar="STUDY.toml")] = None
    """The study's TOML file."""
    published: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[WORD ...]")] = None
    """Show published tables instead, of networks and scales such as 'rcan x4'; without a word, list what there is."""


@dataclass(frozen=True)
class Upscale:
    """Enlarge a picture, or every picture of a folder."""

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """A picture or a folder of pictures; "-i" may be left out where it comes first."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write, or the folder for a folder's pictures; by default photo_x2.png, or photos_x2, beside it."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "small_x2"
    """A checkpoint or a shipped network's name."""
    tile: int | None = None
    """Side of the tiles in LR pixels; by default the whole picture, or tiles as large as memory allows, on a CPU at
    most 1024."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""


@dataclass(frozen=True)
class Export:
    """Write a network as an ONNX file, if it draws the same pictures there: they are compared first."""

    network: Positional[str]
    """A checkpoint or a shipped network's name."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write; by default the network's name with .onnx."""
    pictures: tuple[Path, ...] = ()
    """HR pictures to compare on; by default the demo's photographs (of hkdsr[demo])."""


@dataclass(frozen=True)
class Strip:
    """Put networks of one scale side by side in one picture: the same square of an HR picture by each, with scores."""

    hr: Positional[Path]
    """The HR picture, which is reduced by MATLAB's bicubic for them."""
    networks: Positional[tuple[str, ...]]
    """Checkpoints, shipped networks' names or 'bicubic'."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("strip.png")
    at: tuple[int, int] | None = None
    """Top and left of the square in HR pixels; by default where bicubic is furthest from HR."""
    side: int = 64
    """Of the square, in HR pixels."""


@dataclass(frozen=True)
class Info:
    """Parameters, multiply-adds at a 1280x720 output, and settings of a network."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, or family:setting=value,..."""
    scale: int | None = None
    """Of a network given as family:setting=value; by default 2."""


def main() -> None:
    """Run the verb named on the command line; a mistake of the user's ends in one sentence and exit code 2."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(USAGE)
        return
    if verb == "--version":
        print(f"hkdsr {__version__}")
        return
    if verb not in VERBS:
        print(f"hkdsr: '{verb}' is no verb: choose one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)
    try:
        VERBS[verb](arguments)
    except HkdsrError as error:
        print(f"hkdsr {verb}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        resumes = "; the same command goes on where it was" if verb in RESUMED else ""
        print(f"hkdsr {verb}: interrupted{resumes}", file=sys.stderr)
        sys.exit(130)


def _distill(arguments: list[str]) -> None:
    with _joined() as say:
        recipe = _recipe(DistillRecipe, "distill", arguments)
        from hkdsr.training.run import distill

        result = distill(recipe, say)
        say(_ended(result, recipe, "student"))


def _train(arguments: list[str]) -> None:
    with _joined() as say:
        recipe = _recipe(TrainRecipe, "train", arguments)
        from hkdsr.training.run import train

        result = train(recipe, say)
        say(_ended(result, recipe, "network"))


def _ended(result: TrainingResult, recipe: DistillRecipe | TrainRecipe, what: str) -> str:
    done = f"{result.steps} steps in {result.seconds:.0f} s of training; the {what}"
    if result.steps < recipe.training.steps:
        return f"{done} so far is {result.weights}; the same command goes on to step {recipe.training.steps}"
    return f"{done} is {result.weights}"


def _evaluate(arguments: list[str]) -> None:
    settings = tyro.cli(Evaluate, prog="hkdsr evaluate", args=arguments)
    from hkdsr.commands import evaluate

    evaluate(
        settings.network,
        settings.root,
        settings.sets,
        settings.scale,
        settings.ensemble,
        settings.per_image,
        settings.device,
        _say,
    )


def _compare(arguments: list[str]) -> None:
    settings = tyro.cli(Compare, prog="hkdsr compare", args=arguments)
    if (settings.study is None) == (settings.published is None):
        raise HkdsrError("name a study to run or --published tables to show: hkdsr compare STUDY.toml")
    if settings.published is not None:
        from hkdsr.compare.published import show

        show(settings.published, _say)
    elif settings.study is not None:
        from hkdsr.compare.run import compare

        compare(settings.study, _say)


def _upscale(arguments: list[str]) -> None:
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--input", *arguments]
    settings = tyro.cli(Upscale, prog="hkdsr upscale", args=arguments)
    from hkdsr.deploy.upscale import upscale_file
    from hkdsr.nets.load import load
    from hkdsr.training.fit import pick_device

    network = load(settings.model).to(pick_device(settings.device, "--device"))
    tile = "auto" if settings.tile is None else settings.tile
    with warnings.catch_warnings(record=True) as notes:
        try:
            _say(f"written: {upscale_file(network, settings.input, settings.output, tile)}")
        finally:
            for note in {str(note.message) for note in notes}:
                print(f"hkdsr upscale: note: {note}", file=sys.stderr)


def _export(arguments: list[str]) -> None:
    settings = tyro.cli(Export, prog="hkdsr export", args=arguments)
    from hkdsr.commands import export

    export(settings.network, settings.output, settings.pictures, _say)


def _strip(arguments: list[str]) -> None:
    settings = tyro.cli(Strip, prog="hkdsr strip", args=arguments)
    from hkdsr.commands import strip

    strip(settings.hr, settings.networks, settings.output, settings.at, settings.side, _say)


def _info(arguments: list[str]) -> None:
    settings = tyro.cli(Info, prog="hkdsr info", args=arguments)
    from hkdsr.commands import info

    info(settings.network, settings.scale, _say)


@contextmanager
def _joined() -> Iterator[Callable[[str], None]]:
    """Join the other processes that torchrun started, if it did; the first of them speaks for all."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield _say
        return
    from hkdsr.training.distributed import joined

    with joined() as team:
        yield _say if team.main else lambda text: None
    # All is written. Taking torch's store down with the interpreter aborts now and then ("terminate called").
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _recipe(kind: type[Settings], verb: str, arguments: list[str]) -> Settings:
    """The recipe file named first, if any, and the flags on top of it."""
    default = kind()
    if arguments and not arguments[0].startswith("-"):
        default = read_recipe(Path(arguments[0]), kind)
        arguments = arguments[1:]
    default, arguments = with_method(default, arguments)
    told = f"{(kind.__doc__ or '').strip()} Flags take precedence over RECIPE.toml."
    method = getattr(default, "method", None)
    if isinstance(method, Method):
        told += (
            f"\n\n--method.name NAME chooses the method: {', '.join(METHODS)}; several with commas between them are "
            "summed. --method.use FILE.py:CLASS takes one from a file. The method's settings below are those of "
            f"{method_name(method)}; for another's put its --method.name before --help."
        )
    return tyro.cli(kind, prog=f"hkdsr {verb} [RECIPE.toml]", description=told, default=default, args=arguments)


def _say(text: str) -> None:
    print(text, flush=True)


VERBS = {
    "distill": _distill,
    "train": _train,
    "compare": _compare,
    "evaluate": _evaluate,
    "upscale": _upscale,
    "export": _export,
    "strip": _strip,
    "info": _info,
}

RESUMED = ("distill", "train", "compare")

if __name__ == "__main__":
    main()
