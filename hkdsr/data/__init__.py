"""Images in and out, and the LR/HR pairs made from them."""

from hkdsr.data.images import ImageData, list_images, read_image, rgb
from hkdsr.data.resize import bicubic_pair, imresize, mod_crop
from hkdsr.data.write import check_target, holds, write_image

__all__ = [
    "ImageData",
    "bicubic_pair",
    "check_target",
    "holds",
    "imresize",
    "list_images",
    "mod_crop",
    "read_image",
    "rgb",
    "write_image",
]
