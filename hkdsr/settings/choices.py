"""Names a setting may take. They live apart from the code that uses them so that ``--help`` need not load torch."""

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
MipkdTarget = Literal["truth", "teacher"]

HeadKind = Literal["separate", "shared", "teacher_tail"]
HeadTail = Literal["auto", "upsampler", "shuffle"]
HeadStart = Literal["auto", "bicubic", "plain"]
Stage1Trainable = Literal["heads", "all"]

TeacherImages = Literal["auto", "cached", "live"]
Precision = Literal["auto", "fp32", "bf16"]

Init = Literal["scratch", "slice", "drop", "student"]
TrainInit = Literal["scratch", "student"]
