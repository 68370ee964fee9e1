"""Photographs that come inside the scikit-image and scikit-learn wheels: real images for a demo without a download.

Only natural colour photographs are taken. Each is used as a whole, either for training or for scoring, so that nothing
that is scored was trained on. Both motorcycle images, a stereo pair of one scene, are for training.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hkdsr.errors import HkdsrError

# name -> (package, file inside it); about 640x430 pixels each, chelsea 451x300
TRAINING = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "motorcycle_right": ("skimage", "data/motorcycle_right.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
}
SCORING = {
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}


def demo_files() -> tuple[dict[str, Path], dict[str, Path]]:
    """(training, scoring): image files by name, inside the installed packages.

    Raises HkdsrError if scikit-image or scikit-learn is missing or lacks one of them.
    """
    training, scoring = ({name: _located(*place) for name, place in part.items()} for part in (TRAINING, SCORING))
    return training, scoring


def _located(package: str, file: str) -> Path:
    # The packages' own functions may download, and importing them takes seconds: only their place is asked for.
    spec = find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise HkdsrError(f"the demo's image {Path(file).name} is missing from {package}: pip install 'hkdsr[demo]'")
    return path
