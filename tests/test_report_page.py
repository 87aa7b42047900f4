"""The page of `report`: what it holds, that none of it is markup of others, and that it shows."""

import base64
import io
import json
import re
import shlex
import shutil

import numpy as np
import pytest
from browser import CHROMIUM, chromium, visit
from report_pages import EVIL, KINDS, Pages

from daskcluster import InputError, ModelError, load_model, open_store, write_report
from daskcluster.cli import main
from daskcluster.report import charts, images


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return Pages(tmp_path_factory.mktemp("pages"))


# --- what a page holds ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_needs_nothing_else_and_lets_nothing_in(pages, kind):
    page = pages[kind].page
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "u", "em", "b>"}
    assert page.text.startswith("<!doctype html>")
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        for name in ("src", "href"):
            assert re.match(
                r"data:(image/png;base64,[A-Za-z0-9+/=]+|,)$", attrs.get(name, "data:,")
            )
    assert "url(" not in page.text
    assert "@import" not in page.text
    policy = next(attrs for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy["content"].startswith("default-src 'none'")


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_words_for_all_it_shows(pages, kind):
    page = pages[kind].page
    assert all(attrs["alt"] for attrs in page.all("img"))
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.all("svg"))
    assert all("scope" in attrs for attrs in page.all("th"))
    names = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(names) == len(set(names))
    for _, attrs in page.tags:
        assert attrs.get("aria-labelledby", names[0]) in names
    for tag in ("title", "h1", "figure", "figcaption", "html"):
        assert page.all(tag)
    assert page.all("html")[0]["lang"] == "en"


def test_names_from_files_stay_text(pages):
    for kind in ("news", "cosine", "table", "standardized"):
        page = pages[kind].page
        assert EVIL in page.words
        assert EVIL not in page.text
        assert f"{kind} <i>&amp;" in page.words
    assert "<u>" in pages["table"].page.words  # an id
    assert "<em>7</em>" in pages["table"].page.words  # a column
    assert "<script>" in pages["news"].page.words  # a term


def alts(page, kind):
    return [a["alt"] for a in page.all("img") if a["alt"].startswith(kind)]


def test_samples_are_the_least_and_most_certain(pages):
    page, model = pages["images"].page, load_model(pages["images"].model)
    store = pages.store("digits")
    gaps = model.transform(store.rows(0, 90))
    labels = gaps.argmin(axis=1)
    near, far = np.sort(gaps, axis=1)[:, :2].T
    wanted = []
    for j in range(3):
        order = sorted(np.flatnonzero(labels == j).tolist(), key=lambda i: near[i] / far[i])
        wanted += order[:-6:-1] + order[:5]
    found = alts(page, "Row")
    assert [int(re.match(r"Row (\d+)", alt)[1]) for alt in found] == wanted
    for alt, i in zip(found, wanted, strict=True):
        assert f"of class {i % 3}, " in alt
        assert f"next nearest cluster {np.argsort(gaps[i])[1]}" in alt
        assert alt.endswith(f"margin {1 - near[i] / far[i]:.4f}")


def test_pictures_hold_the_rows(pages):
    imread = pytest.importorskip("matplotlib.image").imread
    page, store = pages["images"].page, pages.store("digits")
    for attrs in page.all("img"):
        picture = imread(io.BytesIO(base64.b64decode(attrs["src"].partition(",")[2])), "png")
        assert picture.shape == (6, 5)
        if attrs["alt"].startswith("Row"):
            row = int(re.match(r"Row (\d+)", attrs["alt"])[1])
            np.testing.assert_array_equal(
                np.rint(picture * 255), store.rows(row, row + 1).reshape(6, 5)
            )
    coloured = imread(io.BytesIO(base64.b64decode(
        pages["colours"].page.all("img")[0]["src"].partition(",")[2])), "png")  # fmt: skip
    assert coloured.shape == (38, 35, 3)  # halved, to be no larger than a page has room for


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_files_are_read_by_others(channels, rng):
    imread = pytest.importorskip("matplotlib.image").imread
    pixels = rng.integers(0, 256, (7, 4, channels), dtype=np.uint8)
    found = np.rint(imread(io.BytesIO(images.png(pixels)), "png") * 255)
    np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "images",
            ["k-means, 3 clusters", "Clusters and classes", "SHA-256", "Purity", "--labels"],
        ),
        ("soft", ["Soft k-means", "responsibility", "Objective", "Weight"]),
        ("cosine", ["Spherical k-means", "moon"]),
        ("memory", ["fitted to an array in memory", "KMeans(n_clusters=3, random_state=0).fit(X)"]),
        ("gone", ["not at hand", "does not exist", "--store"]),
        ("rebuilt", ["was written again since the fit"]),
        ("other", ["The rows shown are those of"]),
        ("weighted", ["The fit weighed its rows", "--weights WEIGHTS.npy"]),
        ("one", ["k-means, 1 cluster", "Farthest", "Nearest"]),
        ("two", ["feature 0", "feature 1"]),
        ("rough", ["Mini-batch k-means", "MiniBatchKMeans("]),
        ("sweep", ["Sweep of 10 models", "Elbow", "k-3"]),
        ("soft-sweep", ["beta 0.01", "beta 0.1"]),
        ("many", ["All sizes as a table", "Cluster 199"]),
    ],
)
def test_what_it_says(pages, kind, words):
    page = pages[kind].page
    for word in words:
        assert word in page.words
    assert pages[kind].facts["bytes"] == len(page.text.encode())
    assert "nan" not in page.words.lower().split()


@pytest.mark.parametrize("kind", ["memory", "gone", "rebuilt"])
def test_without_rows_what_needs_them_is_left_out(pages, kind):
    page, facts = pages[kind].page, pages[kind].facts
    assert len(facts["notes"]) == 1
    assert facts["notes"][0] in page.words
    assert facts["passes"] == 0
    assert not {"scores", "classes"} & {a.get("id") for a in page.all("h2")}
    assert "Least certain" not in page.words
    assert {"clusters", "sizes", "convergence"} <= {a.get("id") for a in page.all("h2")}


def test_rows_are_read_once(pages):
    """30 bytes a row, and 4 of its label."""
    assert pages["images"].facts["passes"] == pytest.approx(34 / 30)


def test_the_counts_of_the_heat_map(pages):
    page = pages["images"].page
    store, model = pages.store("digits"), load_model(pages["images"].model)
    labels = model.predict(store.rows(0, 90))
    table = np.array([[((labels == j) & (np.arange(90) % 3 == c)).sum() for c in range(3)]
                      for j in range(3)])  # fmt: skip
    cells = [a["title"] for a in page.all("td") if a.get("title", "").startswith("cluster")]
    assert [int(re.search(r": (\d+)", cell)[1]) for cell in cells] == table.ravel().tolist()


@pytest.mark.parametrize("kind", ["images", "soft", "standardized"])
def test_its_command_makes_the_model_again(pages, tmp_path, monkeypatch, kind):
    page, model = pages[kind].page, load_model(pages[kind].model)
    line = next(x for x in "".join(page.said).splitlines() if x.startswith("daskcluster fit"))
    _, _, store, _, *options = shlex.split(line)
    with pytest.raises(SystemExit) as stop:
        main(["fit", store, str(tmp_path / "again"), *options])
    assert stop.value.code == 0
    again = load_model(tmp_path / "again")
    np.testing.assert_array_equal(again.cluster_centers_, model.cluster_centers_)


@pytest.mark.parametrize("kind", ["images", "colours", "news"])
def test_its_command_makes_the_store_again(pages, tmp_path, monkeypatch, kind):
    """The store names its sources without their folder."""
    monkeypatch.chdir(pages.folder)
    said = "".join(pages[kind].page.said).splitlines()
    words = shlex.split(next(x for x in said if x.startswith("daskcluster convert")))
    (store,) = (word for word in words if word.endswith(".zarr"))
    again = [str(tmp_path / "again") if word == store else word for word in words[1:]]
    with pytest.raises(SystemExit) as stop:
        main(again)
    assert stop.value.code == 0
    made, wanted = open_store(tmp_path / "again"), open_store(store)
    for name in ("sample_shape", "class_names", "dtype", "text", "sources"):
        assert getattr(made.info, name) == getattr(wanted.info, name)
    rows = [one.rows(0, one.info.n_rows) for one in (made, wanted)]
    assert np.all([abs(rows[0] - rows[1]).max() == 0])


def test_weights_count_as_in_the_fit(pages, tmp_path):
    weights = np.linspace(0.5, 2.0, 90)
    facts = write_report(pages["weighted"].model, tmp_path / "x.html", sample_weight=weights)
    assert facts["notes"] == []


# --- the file ------------------------------------------------------------------------------


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    told = capsys.readouterr()
    assert stop.value.code == code, told.err
    return told


def test_the_command(pages, tmp_path, capsys):
    model, out = pages["images"].model, tmp_path / "page.html"
    facts = json.loads(run(capsys, "report", model, out, "--json").out)
    assert set(facts) == {
        "kind", "out", "bytes", "n_models", "n_clusters", "notes", "passes", "seconds",
    }  # fmt: skip
    assert (facts["kind"], facts["n_clusters"], facts["notes"]) == ("model", 3, [])
    assert "--overwrite" in run(capsys, "report", model, out, code=2).err
    before = out.read_bytes()
    assert "a page of" in run(capsys, "report", model, out, "--overwrite").out
    assert len(out.read_bytes()) == len(before)
    told = run(capsys, "report", pages["gone"].model, out, "--overwrite").out
    assert "not at hand" in told
    elsewhere = pages.folder / "elsewhere.zarr"
    told = run(capsys, "report", pages["gone"].model, out, "--overwrite", "--store", elsewhere).out
    assert "not at hand" not in told
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_what_it_refuses(pages, tmp_path, capsys):
    model = pages["images"].model
    (tmp_path / "file").write_text("mine")
    for arguments, word in (
        ([tmp_path / "none", tmp_path / "x.html"], "not a daskcluster model"),
        ([pages.store("digits").path, tmp_path / "x.html"], "not a daskcluster model"),
        ([model, tmp_path / "no/x.html"], "no folder"),
        ([model, tmp_path], "is a folder"),
        ([model, tmp_path / "file"], "exists"),
        ([model, tmp_path / "x.html", "--store", pages.store("pairs").path], "features"),
        ([model, tmp_path / "x.html", "--store", tmp_path / "none"], "does not exist"),
        ([model, tmp_path / "x.html", "--weights", tmp_path / "none.npy"], "cannot be read"),
    ):
        assert word in run(capsys, "report", *arguments, code=2).err
    assert (tmp_path / "file").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["fitted"]["history_"][0].update(iteration="<b>"),
        lambda d: d["fitted"].update(history_=7),
        lambda d: d["fitted"].update(n_iter_=["x"]),
        lambda d: d["fitted"].update(sample_shape_=[9, 9]),
        lambda d: d.update(versions=7),
        lambda d: d.update(machine=[3]),
    ],
)
def test_damaged_models_leave_the_page_before(pages, tmp_path, damage):
    shutil.copytree(pages["images"].model, tmp_path / "model")
    file = tmp_path / "model/model.json"
    description = json.loads(file.read_text())
    damage(description)
    file.write_text(json.dumps(description))
    (tmp_path / "page.html").write_text("before")
    with pytest.raises(ModelError, match="damaged"):
        write_report(tmp_path / "model", tmp_path / "page.html", overwrite=True)
    assert (tmp_path / "page.html").read_text() == "before"


def test_a_damaged_chunk_is_named(pages, tmp_path):
    store = pages.store("digits")
    place = tmp_path / "damaged.zarr"
    shutil.copytree(store.path, place)
    chunk = place / f"build-{store.info.build}/data/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(InputError, match="c/0/0"):
        write_report(pages["images"].model, tmp_path / "x.html", store=place)
    assert not (tmp_path / "x.html").exists()


# --- charts --------------------------------------------------------------------------------


def test_curves_lie_within_their_axes(rng):
    for scale in (1e-12, 1.0, 1e15):
        points = [(float(i), float(y)) for i, y in enumerate(rng.random(30) * scale)]
        chart = charts.curves([("a", points, points)], "x", "y")
        places = chart.series[0].dots
        assert all(chart.left <= x <= chart.right for x, _ in places)
        assert all(chart.top <= y <= chart.bottom for _, y in places)
        highest = max(points, key=lambda p: p[1])
        assert places[points.index(highest)][1] == min(y for _, y in places)
        assert 2 <= len(chart.y_ticks) <= 8
        texts = [tick.text for tick in chart.y_ticks]
        assert len(set(texts)) == len(texts)


def test_curves_of_little():
    assert charts.curves([("", [], [])], "x", "y") is None
    assert charts.curves([("", [(1.0, float("nan"))], [])], "x", "y") is None
    one = charts.curves([("", [(1.0, 5.0)], [])], "x", "y")
    assert one.series[0].path.startswith("M")
    log = charts.curves([("", [(1.0, 100.0), (2.0, 1.0), (3.0, 0.0)], [])], "x", "y", log=True)
    assert {"1", "10\u00b2"} <= {tick.text for tick in log.y_ticks}
    assert log.series[0].path.count("L") == 1


def test_bars_stand_on_the_axis():
    chart = charts.bars([0, 5, 10], "x", "y")
    assert [round(b.y + b.height, 6) for b in chart.bars] == [chart.bottom] * 3
    assert chart.bars[0].height == 0
    assert chart.bars[2].height == pytest.approx(2 * chart.bars[1].height)


# --- in a browser --------------------------------------------------------------------------


SEEN = """(() => {
  const width = document.documentElement.clientWidth;
  const shown = [...document.querySelectorAll('figure, svg, img, table, .card, .tiles, pre, h1')]
    .filter(one => !one.closest('details:not([open])'));
  const boxes = shown.map(one => [one.tagName, one.getBoundingClientRect(), one]);
  const within = one => one.closest('.scroll') && one.tagName == 'TABLE';
  return {
    n: shown.length,
    wide: document.documentElement.scrollWidth - width,
    empty: boxes.filter(([, b]) => b.width < 4 || b.height < 4).map(([name]) => name),
    out: boxes.filter(([, b, one]) => !within(one) && (b.left < -0.5 || b.right > width + 0.5))
      .map(([name, b]) => [name, b.left, b.right]),
    broken: [...document.images].filter(one => !one.naturalWidth).length,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    small: [...document.querySelectorAll('svg text')].filter(
      one => !one.closest('details:not([open])') && one.getBoundingClientRect().height < 9).length,
  };
})()"""


SHOWN = ("images", "soft", "news", "table", "memory", "one", "many", "sweep", "soft-sweep")


async def look(tab):
    seen = await tab.evaluate(SEEN)
    wrong = [e for e in tab.told("Log.entryAdded") if e["entry"]["level"] in ("error", "warning")]
    seen["console"] = wrong + tab.told("Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    asked = [e["request"]["url"] for e in tab.told("Network.requestWillBeSent")]
    seen["asked"] = [url for url in asked if not url.startswith(("file:", "data:"))]
    return seen


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with chromium() as address:
        yield address


async def look_at_both(tab):
    phone = await look(tab)
    await tab.ask("Emulation.setDeviceMetricsOverride", width=1280, height=900,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
    return phone, await look(tab)


@pytest.mark.parametrize("kind", SHOWN)
def test_it_shows_on_a_phone_and_on_a_desk(pages, browser, kind):
    for seen in visit(browser, pages[kind].path, look_at_both, width=390):
        assert seen["n"] > 5
        assert seen["wide"] <= 0
        for name in ("empty", "out", "console", "asked"):
            assert seen[name] == []
        assert seen["broken"] == seen["small"] == 0


def test_light_dark_and_print(pages, browser):
    def seen(**how):
        found = visit(browser, pages["images"].path, look, **how)
        return [sum(map(int, re.findall(r"\d+", found[name]))) for name in ("paper", "ink")]

    for how, dark in (({}, False), ({"scheme": "dark"}, True),
                      ({"scheme": "dark", "media": "print"}, False)):  # fmt: skip
        paper, ink = seen(**how)
        assert (paper < ink) == dark
        assert abs(paper - ink) > 500


def test_the_browser_would_tell(browser, tmp_path):
    """The checks see what they are for."""
    bad = '<body style="width:9000px"><img src="http://127.0.0.1:9/x"><svg><text>a</text></svg>'
    (tmp_path / "bad.html").write_text(f"<script>throw new Error('x')</script>{bad}<h1></h1>")
    seen = visit(browser, tmp_path / "bad.html", look, width=390)
    assert seen["wide"] > 0
    assert seen["console"]
    assert seen["asked"]
    assert seen["empty"]
    assert seen["broken"] == 1
