"""The page that shows a distillation run: numbers, images to compare, curves and the recipe, in one file."""

from hkdsr.report.content import Comparison, Curve, Report, Row
from hkdsr.report.page import write_report

__all__ = ["Comparison", "Curve", "Report", "Row", "write_report"]
