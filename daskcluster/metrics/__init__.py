"""Scores of a finished clustering, computed from one small table of counts.

A table of counts (clusters by classes) is all that purity, Gini, the adjusted Rand index and the
information scores need. Tables of blocks add up to the table of the whole, so the scores of a
store that fits on no machine are exact. This room knows neither Dask nor Zarr.
"""

from daskcluster.metrics.impurity import gini, purity
from daskcluster.metrics.information import (
    completeness,
    homogeneity,
    normalized_mutual_info,
    v_measure,
)
from daskcluster.metrics.pairs import adjusted_rand, fowlkes_mallows
from daskcluster.metrics.scores import Scores, gini_index, purity_score, score_table
from daskcluster.metrics.table import contingency_matrix, contingency_table, merge_tables

__all__ = [
    "Scores",
    "adjusted_rand",
    "completeness",
    "contingency_matrix",
    "contingency_table",
    "fowlkes_mallows",
    "gini",
    "gini_index",
    "homogeneity",
    "merge_tables",
    "normalized_mutual_info",
    "purity",
    "purity_score",
    "score_table",
    "v_measure",
]
