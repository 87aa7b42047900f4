"""How many rows a refined start looks at: functions of shapes alone."""

SAMPLE_BYTES = 64 * 2**20
# Centres of m rows miss those of all by k / m of the inertia: by a 2,000th, at most by a 200th.
ROWS_PER_CLUSTER, LEAST_PER_CLUSTER = 2000, 200
NESTED = 8  # the larger sample is so many times the smaller
# With fewer rows a pass costs little.
FEWEST_ROWS = 100_000


# k-means|| measures all candidates of its rounds: about 10 k and the first, with room for luck.
CANDIDATES_PER_CLUSTER = 12


def start_bytes(init: str, n_rows: int, row_bytes: int, n_features: int, n_clusters: int) -> int:
    """Bytes that finding initial centres needs beside what a fit does.

    A refined start has its sample twice while it is gathered; k-means|| its candidates as float64.

    Examples
    --------
    >>> start_bytes("k-means||", 10**6, 784, 784, 10)
    752640
    >>> start_bytes("refined", 10**6, 784, 784, 10)
    31360000
    >>> start_bytes("random", 10**6, 784, 784, 10)
    0
    """
    if init == "refined":
        return 2 * row_bytes * sample_rows(n_rows, row_bytes, n_clusters)[1]
    return CANDIDATES_PER_CLUSTER * n_clusters * n_features * 8 if init == "k-means||" else 0


def sample_rows(n_rows: int, row_bytes: int, n_clusters: int) -> tuple[int, int]:
    """Rows of the smaller and the larger sample.

    Parameters
    ----------
    row_bytes : int
        Of a row as it is decoded; sparse rows as float64 of the elements that an average one has.

    Examples
    --------
    >>> sample_rows(10**7, 784, 10)
    (2500, 20000)
    >>> sample_rows(10**7, 784, 1000)
    (25000, 200000)
    >>> sample_rows(2000, 784, 10)
    (250, 2000)
    """
    wanted = min(SAMPLE_BYTES // row_bytes, ROWS_PER_CLUSTER * n_clusters)
    wanted = max(wanted, LEAST_PER_CLUSTER * n_clusters)
    larger = min(wanted, n_rows)
    return max(larger // NESTED, min(larger, 2 * n_clusters)), larger
