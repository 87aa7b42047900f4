"""Every figure is made, whole, of a sane size and with something on it."""

import sys
import threading

import numpy as np
import pytest

from daskcluster.errors import DaskClusterError, InputError
from daskcluster.report import draw_centroids, draw_contingency, draw_history

matplotlib_image = pytest.importorskip("matplotlib.image")

STEPS = [{"iteration": i, "inertia": 1e6 * 0.5**i} for i in range(8)]


def picture(path):
    """The pixels of a PNG that looks like a figure, as (height, width, channels) of 0 to 1."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib_image.imread(path)
    height, width = pixels.shape[:2]
    assert 150 <= height <= 5000
    assert 300 <= width <= 5000
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 10
    return pixels


def is_colourful(pixels):
    return bool(np.ptp(pixels[..., :3], axis=2).max() > 0.1)


def random_centers(k, n_features, seed=0):
    return np.random.default_rng(seed).normal(size=(k, n_features))


@pytest.mark.parametrize(
    ("k", "sample_shape"),
    [
        (10, (8, 8)),
        (1, (8, 8)),
        (7, (5, 3)),
        (3, (1, 1)),
        (2, (1, 50)),
        (2, (50, 1)),
        (4, (6, 6, 1)),
        (5, (4, 4, 3)),
        (5, (4, 4, 4)),
        (10, (64,)),
        (1, (1,)),
        (1, (300,)),
        (50, (2, 2, 2)),
        (41, (3000,)),
    ],
)
def test_centroids_are_drawn(tmp_path, k, sample_shape):
    centers = random_centers(k, int(np.prod(sample_shape)))
    path = draw_centroids(centers, sample_shape, np.arange(k), tmp_path / "c.png")
    assert path == tmp_path / "c.png"
    picture(path)


def test_centroids_of_two_dimensions_are_grey_and_others_a_heat_map(tmp_path):
    centers, sizes = random_centers(4, 9), np.full(4, 3)
    grey = draw_centroids(centers, (3, 3), sizes, tmp_path / "grey.png")
    heat = draw_centroids(centers, (9,), sizes, tmp_path / "heat.png")
    assert not is_colourful(picture(grey))
    assert is_colourful(picture(heat))


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_colours_of_bytes_and_units_are_drawn_as_they_are(tmp_path, unit):
    centers = np.tile(np.array([1.0, 0.5, 0.0]) * unit, (2, 16))
    pixels = picture(draw_centroids(centers, (4, 4, 3), np.ones(2, int), tmp_path / "c.png"))
    orange = np.abs(pixels[..., :3] - [1.0, 0.5, 0.0]).max(axis=2) < 0.01
    assert orange.mean() > 0.1


@pytest.mark.slow
def test_150_centroids_are_cut_to_100_and_the_title_says_so(tmp_path, monkeypatch):
    drawn = texts_drawn(monkeypatch)
    centers = random_centers(150, 4)
    picture(draw_centroids(centers, (4,), np.arange(150) * 10**9, tmp_path / "c.png"))
    assert "Centroids of the first 100 of 150 clusters" in drawn
    assert not any("cluster 100" in text for text in drawn)


def test_centroids_are_named_with_their_sizes(tmp_path, monkeypatch):
    drawn = texts_drawn(monkeypatch)
    draw_centroids(random_centers(3, 4), (2, 2), np.array([0, 1, 1797]), tmp_path / "c.png")
    assert {"cluster 0: 0 rows", "cluster 1: 1 row", "cluster 2: 1,797 rows"} <= drawn
    assert "Centroids of 3 clusters" in drawn


@pytest.mark.parametrize("sample_shape", [(2, 2), (4,), (1, 1, 4)])
@pytest.mark.parametrize("value", [0.0, 7.0, -1e300, np.nan])
def test_centroids_of_one_value_are_drawn(tmp_path, sample_shape, value):
    centers = np.full((3, 4), value)
    draw_centroids(centers, sample_shape, np.zeros(3, int), tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_a_missing_centroid_does_not_blank_the_others(tmp_path):
    centers = random_centers(3, 9)
    centers[1] = np.nan
    picture(draw_centroids(centers, (3, 3), np.array([4, 0, 2]), tmp_path / "c.png"))


@pytest.mark.parametrize(
    ("shape", "sample_shape", "n_sizes", "said"),
    [
        ((3, 4), (2, 3), 3, "have 6 values, but a centroid has 4"),
        ((3, 4), (2, 2), 2, "3 centroids, but sizes"),
        ((0, 4), (2, 2), 0, "filled matrix"),
        ((4,), (2, 2), 4, "filled matrix"),
    ],
)
def test_centroids_that_do_not_fit_are_refused(tmp_path, shape, sample_shape, n_sizes, said):
    with pytest.raises(InputError, match=said):
        draw_centroids(np.ones(shape), sample_shape, np.ones(n_sizes, int), tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "shape", [(10, 10), (1, 1), (1, 9), (9, 1), (20, 20), (150, 10), (30, 300)]
)
def test_contingency_is_drawn(tmp_path, shape):
    table = np.random.default_rng(0).integers(0, 500, shape)
    names = [f"class {c}" for c in range(shape[1])]
    path = draw_contingency(table, names, tmp_path / "t.png", {"purity": 0.5, "gini": 0.25})
    assert path == tmp_path / "t.png"
    picture(path)


def test_contingency_of_empty_clusters_is_drawn(tmp_path):
    for table in ([[3, 4], [0, 0]], [[0, 0]], [[0], [0]]):
        counts = np.array(table)
        names = ["cat", "dog"][: counts.shape[1]]
        picture(draw_contingency(counts, names, tmp_path / "t.png"))


def test_contingency_writes_counts_names_and_scores(tmp_path, monkeypatch):
    drawn = texts_drawn(monkeypatch)
    table = np.array([[1234567, 0], [2, 3]])
    scores = {"purity": 0.98765, "gini": 0.0123, "ari": 0.5}
    draw_contingency(table, ["cat", "dog"], tmp_path / "t.png", scores)
    assert {"1,234,567", "0", "2", "3", "cat", "dog"} <= drawn
    assert {"0 (1,234,567)", "1 (5)", "share of the cluster's rows"} <= drawn
    assert any("purity 0.9877" in text and "Gini 0.0123" in text for text in drawn)
    assert not any("0.5000" in text for text in drawn)


@pytest.mark.parametrize("scores", [None, {}, {"purity": None, "gini": None}])
def test_contingency_without_scores_has_a_plain_title(tmp_path, monkeypatch, scores):
    drawn = texts_drawn(monkeypatch)
    draw_contingency(np.array([[1, 2]]), ["a", "b"], tmp_path / "t.png", scores)
    assert "Clusters and classes" in drawn


def test_contingency_beyond_20_by_20_has_no_counts(tmp_path, monkeypatch):
    drawn = texts_drawn(monkeypatch)
    draw_contingency(np.full((21, 2), 777), ["a", "b"], tmp_path / "t.png")
    assert "777" not in drawn


def test_contingency_colours_by_the_share_of_the_row(tmp_path):
    def cell_colours(table):
        pixels = picture(draw_contingency(np.array(table), ["a", "b"], tmp_path / "t.png"))
        colours, counts = np.unique(pixels.reshape(-1, 4), axis=0, return_counts=True)
        return {tuple(colour) for colour in colours[np.argsort(counts)[-3:]]}

    assert cell_colours([[3, 1]]) == cell_colours([[3000, 1000]])
    assert cell_colours([[3, 1]]) != cell_colours([[3, 2]])


def test_contingency_counts_are_readable_on_light_and_dark(tmp_path, monkeypatch):
    inks = texts_drawn(monkeypatch, what="get_color")
    draw_contingency(np.array([[95, 5], [0, 7]]), ["a", "b"], tmp_path / "t.png")
    assert {"white", "black"} <= inks


def test_names_are_data_and_no_formulas(tmp_path, monkeypatch):
    drawn = texts_drawn(monkeypatch)
    names = ["$x_", "$\\frac$", "", "n" * 200]
    picture(draw_contingency(np.eye(4, dtype=int), names, tmp_path / "t.png"))
    assert {"$x_", "$\\frac$", "n" * 23 + "…"} <= drawn


@pytest.mark.parametrize(
    ("shape", "names", "said"),
    [
        ((2, 3), ["a"], "1 class names for 3 classes"),
        ((0, 3), ["a", "b", "c"], "filled matrix"),
        ((3, 0), [], "filled matrix"),
        ((3,), ["a", "b", "c"], "filled matrix"),
    ],
)
def test_contingency_that_does_not_fit_is_refused(tmp_path, shape, names, said):
    with pytest.raises(InputError, match=said):
        draw_contingency(np.ones(shape, int), names, tmp_path / "t.png")


@pytest.mark.parametrize(
    "inertias",
    [[5.0], [5.0, 5.0], [0.0, 0.0], [1e300, 1e299], [1e-9, 1e-12], list(range(300, 0, -1))],
)
def test_history_is_drawn(tmp_path, inertias):
    steps = [{"iteration": i, "inertia": v, "seconds": 1} for i, v in enumerate(inertias)]
    path = draw_history(steps, tmp_path / "h.png")
    assert path == tmp_path / "h.png"
    picture(path)


def test_history_names_its_axes(tmp_path, monkeypatch):
    drawn = texts_drawn(monkeypatch)
    draw_history(STEPS, tmp_path / "h.png")
    assert {"iteration", "inertia"} <= drawn


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "empty"),
        ([{"iteration": 1}], "inertia"),
        ([{"inertia": 1}], "iteration"),
        ([{"iteration": 1, "inertia": None}], "TypeError"),
        ([{"iteration": 1, "inertia": "low"}], "low"),
    ],
)
def test_history_without_numbers_is_refused(tmp_path, steps, said):
    with pytest.raises(InputError, match=said):
        draw_history(steps, tmp_path / "h.png")


def test_a_picture_replaces_an_older_one_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "h.png").write_text("old")
    picture(draw_history(STEPS, str(tmp_path / "h.png")))
    assert [path.name for path in tmp_path.iterdir()] == ["h.png"]


def test_a_failed_write_keeps_the_older_picture(tmp_path, monkeypatch):
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where matplotlib is there

    def fill_the_disk(self, path, **options):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", fill_the_disk)
    (tmp_path / "h.png").write_text("old")
    with pytest.raises(OSError, match="no space"):
        draw_history(STEPS, tmp_path / "h.png")
    assert (tmp_path / "h.png").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["h.png"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere is no folder"):
        draw_history(STEPS, tmp_path / "nowhere" / "h.png")


def test_the_name_need_not_end_in_png(tmp_path):
    picture(draw_history(STEPS, tmp_path / "picture"))


def test_without_matplotlib_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DaskClusterError, match="pip install matplotlib"):
        draw_history(STEPS, tmp_path / "h.png")


def test_pictures_are_the_same_from_many_threads(tmp_path):
    draw_history(STEPS, tmp_path / "alone.png")
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    threads = [threading.Thread(target=draw_history, args=(STEPS, path)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = picture(tmp_path / "alone.png")
    assert all(np.array_equal(picture(path), alone) for path in paths)


def test_pyplot_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    draw_centroids(random_centers(2, 4), (2, 2), np.ones(2, int), tmp_path / "c.png")
    draw_contingency(np.eye(2, dtype=int), ["a", "b"], tmp_path / "t.png")
    draw_history(STEPS, tmp_path / "h.png")


def texts_drawn(monkeypatch, what="get_text"):
    """A set that fills with every visible text (or its colour) as figures are drawn."""
    from matplotlib.text import Text  # noqa: PLC0415 - only where matplotlib is there

    seen, draw = set(), Text.draw

    def watch(self, *args, **options):
        if self.get_visible():
            seen.add(getattr(self, what)())
        return draw(self, *args, **options)

    monkeypatch.setattr(Text, "draw", watch)
    return seen
