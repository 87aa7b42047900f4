"""Initial centres, drawn so that chunks and workers cannot matter."""

from daskcluster.seeding.parallel import kmeans_parallel
from daskcluster.seeding.plusplus import kmeans_plusplus
from daskcluster.seeding.population import Population, random_rows, rows_at, take_rows

__all__ = [
    "Population",
    "kmeans_parallel",
    "kmeans_plusplus",
    "random_rows",
    "rows_at",
    "take_rows",
]
