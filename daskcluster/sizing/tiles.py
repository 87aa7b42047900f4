"""Shapes of what kernels compute at once, and of what they keep of a row."""

from daskcluster.sizing.blocks import MIB, grain_rows

# Between more centres the distances outside the directions would take more room than blocks.
MOST_PROJECTED = 4096
# Centres whose float64 products with all are held at once.
OUTSIDE_ROWS = 1024
FEWEST_PROJECTED = 16
# Beyond it a gap of each centre takes longer to bring up to date than what it saves.
MOST_PAIRED = 128
# float32 that loops take from a row of gaps at once.
LANES = 16
SHORT_LANES = 2 * LANES  # and of 16 bits
# Beyond it temporary arrays of a number a row leave the cache.
MOST_SOFT_ROWS = 4096
SMALL_PRODUCT = 10**6


def tile_rows(n_features: int, n_clusters: int) -> int:
    """Rows of a tile: float32 rows and products near 4 MiB, so that they stay in cache."""
    rows = 4 * MIB // (4 * (n_features + n_clusters))
    return min(max(1 << max(rows.bit_length() - 1, 0), 64), 16384)


def projection_tile_rows(width: int) -> int:
    """Rows of a tile of ``width`` float32 each: near 1 MiB, so that passes over it are cheap."""
    return min(max(MIB // (4 * width), 64), 4096)


def n_directions(n_features: int, n_clusters: int, bytes_per_row: float) -> int:
    """How many directions to project rows on where so many bytes may be kept of each; 0 for none.

    Few centres are told apart by fewer; where features are few, products with them are cheap.
    """
    wanted = 32 if n_clusters <= 32 else 64
    if n_features < 4 * wanted or not 2 <= n_clusters <= MOST_PROJECTED:
        return 0
    while wanted >= 16 and projection_bytes(wanted) > bytes_per_row:
        wanted //= 2
    return wanted if wanted >= 16 else 0


def projection_bytes(n_directions: int) -> int:
    """Bytes kept of a row for its projection."""
    return 4 * (n_directions + 1)


def pairs_width(n_clusters: int) -> int:
    """Numbers kept for a gap of each centre: whole vector registers of float32."""
    return -(-n_clusters // LANES) * LANES


def pairs_bytes(n_clusters: int) -> int:
    """Bytes of them for a row; 0 where there are so many centres that they are not kept."""
    return 4 * pairs_width(n_clusters) if n_clusters <= MOST_PAIRED else 0


def soft_rows(n_features: int, n_clusters: int) -> int:
    """Rows of one product of soft k-means: a power of two that divides a grain.

    Bits depend on it, so it is a function of shapes alone: float64 rows and shares near 4 MiB.
    """
    rows = 4 * MIB // (8 * (n_features + n_clusters))
    rows = 1 << max(rows.bit_length() - 1, 0)
    return min(max(rows, 32), grain_rows(n_features), MOST_SOFT_ROWS)


def soft_group(n_features: int, n_clusters: int) -> int:
    """How many such runs are gone through at once: no bit depends on it, but time does.

    Threads take turns to call NumPy, so a call should be worth it: float64 rows near 12 MiB.
    """
    run = soft_rows(n_features, n_clusters)
    return min(max(12 * MIB // (8 * run * (n_features + n_clusters)), 1), 32)


def small_products(n_rows: int, n_features: int, n_clusters: int) -> int:
    """How many products of even runs of rows to make one of; bits depend on it too.

    OpenBLAS has a kernel twice as fast for products of up to 10**6 multiplications.
    """
    rows = n_rows
    while rows * n_features * n_clusters > SMALL_PRODUCT:
        rows //= 2
    return n_rows // rows if rows >= 32 and n_rows % rows == 0 else 1
