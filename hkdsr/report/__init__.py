"""The report of a training in one HTML file: scores, images to compare, curves and the recipe."""

from hkdsr.report.content import Comparison, Curve, Report, Row
from hkdsr.report.page import write_report

__all__ = ["Comparison", "Curve", "Report", "Row", "write_report"]
