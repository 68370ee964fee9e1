"""Pictures in and out, and the LR/HR pairs made from them."""

from hkdsr.data.pictures import Picture, check_target, holds, list_pictures, read_picture, rgb, write_picture
from hkdsr.data.resize import imresize, mod_crop

__all__ = [
    "Picture",
    "check_target",
    "holds",
    "imresize",
    "list_pictures",
    "mod_crop",
    "read_picture",
    "rgb",
    "write_picture",
]
