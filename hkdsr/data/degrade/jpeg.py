"""JPEG compression, by Pillow in memory."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """uint8 (H, W, 3) written as JPEG of ``quality`` (1 to 100, colours at half size) and read again."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
