"""Images in and out, and the LR/HR pairs made from them."""

from hkdsr.data.images import ImageData, check_target, holds, list_images, read_image, rgb, write_image
from hkdsr.data.resize import imresize, mod_crop

__all__ = [
    "ImageData",
    "check_target",
    "holds",
    "imresize",
    "list_images",
    "mod_crop",
    "read_image",
    "rgb",
    "write_image",
]
