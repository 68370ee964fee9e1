"""Networks. A family is registered by its class in the list below, and nowhere else."""

from __future__ import annotations

from hkdsr.nets.base import Network, Traced, parameter_count
from hkdsr.nets.families.bsrn import BSRN
from hkdsr.nets.families.compact import Compact
from hkdsr.nets.families.edsr import EDSR
from hkdsr.nets.families.hitsrf import HiTSRF
from hkdsr.nets.families.hpinet import HPINet
from hkdsr.nets.families.imdn import IMDN
from hkdsr.nets.families.msrresnet import MSRResNet
from hkdsr.nets.families.rcan import RCAN
from hkdsr.nets.families.rlfn import RLFN
from hkdsr.nets.families.smfanet import SMFANet
from hkdsr.nets.families.span import SPAN
from hkdsr.nets.families.swinir import SwinIR

FAMILIES: dict[str, type[Network]] = {
    kind.family: kind
    for kind in (BSRN, Compact, EDSR, HiTSRF, HPINet, IMDN, RCAN, RLFN, SMFANet, SPAN, SwinIR, MSRResNet)
}

__all__ = ["FAMILIES", "Network", "Traced", "parameter_count"]
