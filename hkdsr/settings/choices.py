"""The values that settings of a few choices take, without torch, so that ``--help`` is quick.

What each value means is in the help text of its setting.
"""

from __future__ import annotations

from typing import Literal

FsmMode = Literal["gt_similarity", "low", "direct", "wave"]
FsmDomain = Literal["wavelet", "pixel"]
FsmNorm = Literal["none", "cosine"]

AcfInputs = Literal["gt_t", "s_t", "gt_s_t", "gt"]
AcfSplit = Literal["per_channel", "joint"]
AcfPool = Literal["none", "global", "late"]
AcfBound = Literal["sigmoid", "none"]
AcfGateTraining = Literal["joint", "frozen"]

FitnetForm = Literal["regressor", "channel_mean"]
AtNorm = Literal["squared", "l2", "l1"]
RkdOn = Literal["features", "output"]
VidPdf = Literal["gaussian", "laplace"]
SrkdStatistic = Literal["mean", "power_mean", "max", "min"]
MtkdAggregate = Literal["mean", "nearest"]
MipkdTarget = Literal["gt", "teacher"]

HeadKind = Literal["separate", "shared", "teacher_tail"]
HeadTail = Literal["auto", "upsampler", "shuffle"]
HeadStart = Literal["auto", "bicubic", "plain", "solved"]
Stage1Trainable = Literal["heads", "all"]

MethodFade = Literal["none", "out", "in"]
Target = Literal["auto", "hr", "teacher"]
TeacherImages = Literal["auto", "cached", "live"]
Schedule = Literal["milestones", "cosine"]
DegradePreset = Literal["none", "real-esrgan", "bsrgan"]
Precision = Literal["auto", "fp32", "bf16"]
Compile = Literal["no", "yes", "graphs"]

Init = Literal["scratch", "slice", "drop", "prune", "student"]
TrainInit = Literal["scratch", "student"]
