"""Networks. The list below is all there is to registering one."""

from __future__ import annotations

from hkdsr.nets.base import Network, Traced, parameter_count
from hkdsr.nets.bsrn import BSRN
from hkdsr.nets.compact import Compact
from hkdsr.nets.edsr import EDSR
from hkdsr.nets.families.span import SPAN
from hkdsr.nets.hitsrf import HiTSRF
from hkdsr.nets.hpinet import HPINet
from hkdsr.nets.imdn import IMDN
from hkdsr.nets.rcan import RCAN
from hkdsr.nets.rlfn import RLFN
from hkdsr.nets.smfanet import SMFANet
from hkdsr.nets.swinir import SwinIR

FAMILIES: dict[str, type[Network]] = {
    kind.family: kind for kind in (BSRN, Compact, EDSR, HiTSRF, HPINet, IMDN, RCAN, RLFN, SMFANet, SPAN, SwinIR)
}

__all__ = ["FAMILIES", "Network", "Traced", "parameter_count"]
