"""Figures from finished results: plain values in, PNG files out."""

from daskcluster.report.canvas import can_draw
from daskcluster.report.centroids import draw_centroids
from daskcluster.report.contingency import draw_contingency
from daskcluster.report.history import draw_history

__all__ = ["can_draw", "draw_centroids", "draw_contingency", "draw_history"]
