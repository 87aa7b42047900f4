"""Figures and pages from finished results; nothing is computed anew."""

from daskcluster.report.canvas import can_draw
from daskcluster.report.centroids import draw_centroids
from daskcluster.report.contingency import draw_contingency
from daskcluster.report.history import draw_history
from daskcluster.report.write import write_report

__all__ = ["can_draw", "draw_centroids", "draw_contingency", "draw_history", "write_report"]
