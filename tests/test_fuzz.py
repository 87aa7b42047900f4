"""Bad input by the thousand in its short form, and what the long form (scripts/fuzz.py) found."""

import argparse
import json
from pathlib import Path

import fuzz
import pytest
from fuzzing import TARGETS
from fuzzing.guards import limited
from fuzzing.target import Finding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CORPUS = sorted((Path(__file__).parent / "data" / "fuzz").glob("*.json"))
SLOW = {"folder", "jsonl", "store", "cli"}


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_read_is_accepted_or_refused(name, tmp_path):
    target = TARGETS[name]

    @settings(
        max_examples=8 if name in SLOW else 12, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def check(rng):
        with limited(20):
            target.check(target.draw(rng), tmp_path)

    check()


# The good case of the command line is the files that it is given.
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "cli"])
def test_good_cases_are_accepted(name, tmp_path):
    target = TARGETS[name]
    for case in target.good[:2]:
        assert target.check(case, tmp_path)[0] == "accepted"


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_found(path, tmp_path):
    case = {name: text.encode("latin-1") for name, text in json.loads(path.read_text()).items()}
    with limited(20):
        assert TARGETS[path.stem.partition("-")[0]].check(case, tmp_path)[0] == "refused"


def test_the_corpus_is_there():
    assert len(CORPUS) >= 5


def test_a_process_that_dies_is_found(monkeypatch):
    """Its case counts, and a process of its own goes on with the next one."""
    ends = [{"event": "ends", "target": "idx", "largest": 7, "accepted": 5, "refused": 1}]
    runs = iter([([], 3, -11), (ends, 9, 0)])
    begun = []
    monkeypatch.setattr(
        fuzz, "child", lambda options, target, first: (begun.append(first), next(runs))[1]
    )
    options = argparse.Namespace(first=0, cases=10, keep=None, seed=0)
    result = fuzz.run_apart(options, "idx")
    assert begun == [0, 4]
    assert (result["findings"], result["accepted"], result["largest_bytes"]) == (1, 5, 7)


class Careless(type(TARGETS["idx"])):
    """A reader as it should not be."""

    def __init__(self, read):
        self.read = read


def leaves(folder):
    (folder / "left").write_text("over")


def crashes(folder):
    raise KeyError("rows")


def swallows(folder):
    bytearray(200 << 20)


@pytest.mark.parametrize(
    ("read", "word"), [(leaves, "left"), (crashes, "KeyError"), (swallows, "allocated")]
)
def test_what_should_not_happen_is_found(read, word, tmp_path):
    with pytest.raises(Finding, match=word):
        Careless(read).check({"rows": b"1"}, tmp_path)
