"""Naive oracles: plain loops over exact fractions. Slow, short, and shaped like the definitions."""

import math
from collections import namedtuple
from fractions import Fraction

import numpy as np


def fractions(table):
    """Rows of any type as lists of exact fractions."""
    return [[Fraction(value) for value in row] for row in np.asarray(table).tolist()]


def distance(row, center):
    """Squared Euclidean distance of two lists of fractions."""
    return sum((x - c) ** 2 for x, c in zip(row, center, strict=True))


def nearest(rows, centers):
    """Labels: the lowest index among the nearest centres."""
    rows, centers = fractions(rows), fractions(centers)
    # Denominators are powers of two: in units of the largest all numbers are integers, and fast.
    unit = max(x.denominator for row in rows + centers for x in row)
    rows, centers = ([[int(x * unit) for x in row] for row in part] for part in (rows, centers))
    labels = []
    for row in rows:
        gaps = [sum((x - c) ** 2 for x, c in zip(row, center, strict=True)) for center in centers]
        labels.append(gaps.index(min(gaps)))
    return np.array(labels, dtype=np.int32)


def unit_of(grid):
    return Fraction(2) ** grid.exponent


def on_grid(value, unit):
    """A fraction rounded to the nearest multiple of ``unit``, ties to the even one."""
    return round(value / unit) * unit


def sums(rows, labels, n_clusters, unit):
    """Per cluster the sum of its rows, every element rounded once; and the counts."""
    table = fractions(rows)
    totals = [[Fraction(0)] * len(table[0]) for _ in range(n_clusters)]
    counts = [0] * n_clusters
    for row, label in zip(table, np.asarray(labels).tolist(), strict=True):
        counts[label] += 1
        for j, value in enumerate(row):
            totals[label][j] += on_grid(value, unit)
    return totals, counts


def mean(total, count):
    """A cluster's centre: the exact quotients, rounded once."""
    return [float(value / count) for value in total]


def direct_inertia(rows, labels, centers):
    """The sum of squared differences, exact."""
    rows, centers = fractions(rows), fractions(centers)
    return sum(distance(row, centers[i]) for row, i in zip(rows, labels, strict=True))


def inertia(squares, totals, counts, centers):
    """The same from sums, where elements may have been rounded to a grid."""
    value = squares
    for total, count, center in zip(totals, counts, fractions(centers), strict=True):
        value += sum(count * c * c - 2 * c * s for c, s in zip(center, total, strict=True))
    return max(float(value), 0.0)


def farthest(rows, labels, centers):
    """``(distance, index)`` of all rows: by distance downwards, ties to the lowest row."""
    table, centers = fractions(rows), fractions(centers)
    gaps = [(distance(row, centers[labels[i]]), i) for i, row in enumerate(table)]
    return sorted(gaps, key=lambda one: (-one[0], one[1]))


# The history holds (inertia, empty clusters) of every iteration.
Run = namedtuple("Run", "centers labels inertia n_iter converged sizes history")


def variance(rows):
    """The mean over columns of their variances."""
    columns = list(zip(*fractions(rows), strict=True))
    n = len(columns[0])
    return sum(sum(x * x for x in c) / n - (sum(c) / n) ** 2 for c in columns) / len(columns)


def lloyd(rows, centers, max_iter, tol, unit, squares):
    """Lloyd's algorithm with the project's rules for empty clusters and for stopping."""
    table, k, history = fractions(rows), len(centers), []
    centers, threshold = np.array(centers, dtype=np.float64), Fraction(tol) * variance(rows)
    converged = repeated = False
    while len(history) < max_iter and not converged:
        labels = nearest(rows, centers)
        totals, counts = sums(rows, labels, k, unit)
        empty = [j for j in range(k) if counts[j] == 0]
        history.append((inertia(squares, totals, counts, centers), len(empty)))
        for gap, i in farthest(rows, labels, centers) if empty else []:
            if not empty or gap == 0:
                break
            donor = labels[i]
            if counts[donor] > 1:
                target, row = empty.pop(0), [on_grid(x, unit) for x in table[i]]
                totals[target], counts[target] = row, 1
                totals[donor] = [s - x for s, x in zip(totals[donor], row, strict=True)]
                counts[donor] -= 1
        new = [mean(totals[j], counts[j]) if counts[j] else centers[j].tolist() for j in range(k)]
        shift = sum(distance(a, b) for a, b in zip(fractions(new), fractions(centers), strict=True))
        repeated = shift == 0
        converged = repeated or (tol > 0 and shift <= threshold)
        centers = np.array(new)
    labels = nearest(rows, centers)
    totals, counts = sums(rows, labels, k, unit)
    value = inertia(squares, totals, counts, centers)
    return Run(centers, labels, value, len(history), converged, counts, history)


# What soft k-means finds: the history holds the objective of every iteration's first centres.
Soft = namedtuple("Soft", "centers objective n_iter history")


def responsibilities(row, centers, beta, metric):
    """``softmax(-beta * distance)`` of one row, and its free energy: loops over float64."""
    gaps = [math.fsum((x - c) ** 2 for x, c in zip(row, center, strict=True)) for center in centers]
    if metric == "euclidean":
        gaps = [math.sqrt(gap) for gap in gaps]
    parts = [math.exp(-beta * (gap - min(gaps))) for gap in gaps]
    whole = math.fsum(parts)
    return [part / whole for part in parts], min(gaps) - math.log(whole) / beta


def soft_step(rows, centers, beta, metric):
    """The weighted means of all rows, and the free energy that they began with."""
    shares, energies = zip(
        *(responsibilities(row, centers, beta, metric) for row in rows), strict=True
    )
    new = []
    for k, center in enumerate(centers):
        weight = math.fsum(share[k] for share in shares)
        columns = zip(*rows, strict=True)
        sums = [math.fsum(s[k] * x for s, x in zip(shares, c, strict=True)) for c in columns]
        new.append(center if weight < 1e-12 else [total / weight for total in sums])
    return new, math.fsum(energies)


def soft_kmeans(rows, centers, beta, metric, max_iter, tol):
    """Soft k-means, and the free energy of its last centres."""
    rows, centers = np.asarray(rows, dtype=np.float64).tolist(), np.asarray(centers).tolist()
    history, shift = [], np.inf
    while len(history) < max_iter and shift >= tol:
        new, energy = soft_step(rows, centers, beta, metric)
        shift = float(np.linalg.norm(np.subtract(new, centers)))
        history.append(energy)
        centers = new
    _, energy = soft_step(rows, centers, beta, metric)
    return Soft(np.array(centers), energy, len(history), history)
