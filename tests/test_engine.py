"""The engine on this process's threads: tasks, passes, states, budgets, stops."""

import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dask
import dask.threaded
import numpy as np
import pytest
import zarr
from threadpoolctl import threadpool_info

from daskcluster.engine import Session, Silent, TextLine, memory, parse_bytes, tasks
from daskcluster.engine.blas import OneBlasThread
from daskcluster.engine.memory import MEMORY, ProcessMemory
from daskcluster.errors import InputError
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.together import Together
from daskcluster.sizing import Cut
from daskcluster.store import open_rows


@dataclass(frozen=True)
class CountingReader:
    """Rows that are their own index, and a record of what was read."""

    log: list
    token: str = "counting"
    in_memory = False

    def read(self, block):
        self.log.append(block.index)
        return Batch(block.start, np.arange(block.start, block.stop, dtype=np.int64)[:, None])

    def identity(self):
        return "one"


@dataclass(frozen=True)
class Sum:
    state_kind = None

    def step(self, batch, state):
        return int(batch.rows.sum()), None

    def merge(self, a, b):
        return a + b


@dataclass(frozen=True)
class Prepared(Sum):
    """Sums only what it was prepared for."""

    calls: list

    def prepare(self):
        self.calls.append(threading.get_ident())

    def step(self, batch, state):
        assert self.calls
        return super().step(batch, state)


@dataclass(frozen=True)
class Remember:
    """Returns how often each block was seen with its state at hand."""

    state_kind: str | None = "visits"

    def step(self, batch, state):
        visits = 0 if state is None else state
        return {batch.start: visits}, visits + 1

    def merge(self, a, b):
        assert not set(a) & set(b)
        return a | b


@dataclass(frozen=True)
class Fail:
    state_kind = None

    def step(self, batch, state):
        raise InputError(f"rows from {batch.start} are bad")

    def merge(self, a, b):
        raise AssertionError


@dataclass(frozen=True)
class BlasThreads:
    state_kind = None

    def step(self, batch, state):
        return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}, None

    def merge(self, a, b):
        return a | b


def session(log, n_rows=1000, rows=100, **options):
    return Session(CountingReader(log), Cut(n_rows, rows), n_rows * 8, **options)


@pytest.mark.parametrize(("n_rows", "rows"), [(1, 1), (5, 10), (10, 10), (11, 10), (1000, 7)])
def test_a_reduction_sees_every_row_once(n_rows, rows):
    log = []
    with session(log, n_rows, rows) as run:
        assert run.reduce(Sum(), "sum") == n_rows * (n_rows - 1) // 2
    assert sorted(log) == list(range(len(Cut(n_rows, rows))))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("n_blocks", [1, 3, 4, 50])
def test_tasks_grow_with_threads_and_not_with_chunks(n_blocks, n_threads):
    with dask.config.set(num_workers=n_threads), session([], n_blocks * 10, 10) as run:
        run.reduce(Sum(), "sum")
        assert run.n_tasks == min(n_blocks, 2 * n_threads)


@pytest.mark.parametrize("budget", [0, "2 KiB", "1 GiB"])
def test_what_fits_the_budget_is_decoded_once(budget):
    log = []
    with session(log, memory_budget=parse_bytes(budget)) as run:
        for _ in range(3):
            run.reduce(Sum(), "sum")
        kept = parse_bytes(budget) // 800
        decoded = 10 + 2 * max(10 - kept, 0)
        assert len(log) == decoded
        assert run.passes == decoded / 10
        assert MEMORY.bytes_kept() <= parse_bytes(budget)
    assert MEMORY.bytes_kept() == 0


@pytest.mark.parametrize("alone", [True, False])
def test_what_all_blocks_need_is_prepared_once_before_them(alone):
    calls, data = [], CountingReader([])
    job = Prepared(calls) if alone else Together((Prepared(calls), Sum()))
    with Session(data, Cut(40, 4), 320) as session:
        total = session.reduce(job, "sum")
    assert total == (780 if alone else (780, 780))
    assert calls == [threading.get_ident()]


def test_only_the_named_blocks_are_read():
    log = []
    with session(log) as run:
        assert run.reduce(Sum(), "sum", [2, 7]) == sum(range(200, 300)) + sum(range(700, 800))
    assert sorted(log) == [2, 7]


def test_states_stay_with_their_run_and_end_with_it():
    with session([]) as run:
        assert set(run.reduce(Remember(), "x").values()) == {0}
        assert set(run.reduce(Remember(), "x").values()) == {1}
        with session([]) as other:
            assert set(other.reduce(Remember(), "x").values()) == {0}
        assert set(run.reduce(Remember(), "x").values()) == {2}
        assert set(run.reduce(Remember("others"), "x").values()) == {0}
    assert MEMORY._states == {}


def test_a_popped_state_is_nobody_elses():
    memory_ = ProcessMemory()
    memory_.open_run("run", CountingReader([]))
    memory_.put_state(("run", "kind", 0), "state")
    assert memory_.pop_state(("run", "kind", 0)) == "state"
    assert memory_.pop_state(("run", "kind", 0)) is None


def test_a_late_attempt_of_an_ended_run_leaves_nothing():
    memory_ = ProcessMemory()
    memory_.open_run("run", CountingReader([]))
    memory_.close_run("run")
    memory_.put_state(("run", "kind", 0), "state")
    memory_.keep_block(("counting", 0, 1), Batch(0, np.zeros((1, 1))), 100)
    assert memory_.pop_state(("run", "kind", 0)) is None
    assert memory_.bytes_kept() == 0


def test_idle_minutes_end_a_run_whose_driver_died(monkeypatch):
    monkeypatch.setattr(memory, "IDLE_SECONDS", 0.05)
    memory_ = ProcessMemory()
    memory_.open_run("run", CountingReader([]))
    memory_.put_state(("run", "kind", 0), "state")
    memory_._janitor.join(5)
    assert not memory_._janitor.is_alive()
    assert memory_.pop_state(("run", "kind", 0)) is None


def test_a_task_out_of_time_is_followed_by_the_next_range(monkeypatch):
    monkeypatch.setattr(tasks, "TASK_SECONDS", -1.0)
    log = []
    with dask.config.set(num_workers=1), session(log) as run:
        assert run.reduce(Sum(), "sum") == 1000 * 999 // 2
        assert run.n_tasks == 10
    assert sorted(set(log)) == list(range(10))


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "single-threaded"])
def test_dask_says_which_scheduler(scheduler):
    names = set()

    @dataclass(frozen=True)
    class Where:
        state_kind = None

        def step(self, batch, state):
            names.add(threading.current_thread().name)
            return 0, None

        def merge(self, a, b):
            return 0

    with dask.config.set(scheduler=scheduler), session([]) as run:
        run.reduce(Where(), "where")
    here = threading.current_thread().name
    assert (here in names) == (scheduler != "threads")


def test_an_error_of_a_step_reaches_the_caller_and_ends_the_run():
    with pytest.raises(InputError, match="rows from"), session([]) as run:
        run.reduce(Fail(), "fail")
    assert MEMORY._runs == {}


def test_blas_has_one_thread_during_a_run_and_its_own_number_after():
    before = {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}
    with session([]) as run, session([]) as other:
        assert run.reduce(BlasThreads(), "blas") == {1}
        other.__exit__(None, None, None)
        assert run.reduce(BlasThreads(), "blas") == {1}
    assert {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"} == before


def test_blas_limit_holds_whichever_thread_asks():
    limit = OneBlasThread()
    before = {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

    def inside():
        with limit.held():
            return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for pool in (first, second, first):
            assert pool.submit(inside).result() == {1}
    assert {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"} == before


def test_blas_limit_ignores_strangers():
    limit = OneBlasThread()
    limit.release("nobody")
    limit.acquire("a")
    limit.release("a")


@pytest.mark.parametrize(
    ("text", "size"), [("1 GiB", 2**30), ("2GB", 2 * 10**9), (17, 17), ("0", 0), ("1.5 KiB", 1536)]
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "-1", "", "1 XB"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match="size"):
        parse_bytes(text)


def test_progress_is_told_of_rows():
    seen = []

    class Seen:
        def rows(self, title, done, total):
            seen.append((title, done, total))

        def event(self, kind, facts): ...

        def close(self):
            seen.append("closed")

    with session([], progress=Seen()) as run:
        run.reduce(Sum(), "adding")
    assert sorted(done for _, done, _ in seen[:-1]) == list(range(100, 1001, 100))
    assert seen[-1] == "closed"


def test_a_run_that_cannot_open_leaves_nothing(tmp_path):
    @dataclass(frozen=True)
    class Gone(CountingReader):
        def identity(self):
            raise InputError("it is gone")

    before = {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}
    with pytest.raises(InputError, match="gone"), Session(Gone([]), Cut(10, 5), 80):
        pass
    assert {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"} == before
    assert MEMORY._runs == {}


@pytest.mark.parametrize("live", [True, False])
def test_the_text_of_progress_fits_where_it_goes(live, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: live
    monkeypatch.setenv("COLUMNS", "60")
    line = TextLine(stream)
    line.rows("iteration 1", 500, 1000)
    line.event("iteration", {"iteration": 1, "inertia": 1234567.5, "changed": 1000, "passes": 1.0})
    line.rows("iteration 2", 1000, 1000)
    line.close()
    told = "iteration 1: inertia 1.23457e+06, changed 1,000, passes 1"
    if live:
        assert all(len(part) < 60 for part in stream.getvalue().split("\r"))
        assert told in stream.getvalue()
    else:
        assert stream.getvalue() == told + "\n"


def test_a_live_line_has_the_rate_and_the_time_left(monkeypatch):
    stream, now = io.StringIO(), iter(range(0, 1000, 50))
    stream.isatty = lambda: True
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("daskcluster.engine.progress.time.monotonic", lambda: next(now))
    line = TextLine(stream)
    line.decoded({"bytes": 10**9})
    line.rows("iteration 2", 100, 1000)
    assert stream.getvalue().rstrip() == "\riteration 2: 100 of 1,000 rows"
    line.event("iteration", {
        "iteration": 2, "changed": 7, "rows": 1000, "pruned": 0.25, "seconds": 3.0, "bytes": 9,
        "bytes_per_second": 2.5e8, "seconds_left_at_most": 300.0,
    })  # fmt: skip
    line.rows("iteration 3", 100, 1000)
    line.decoded({"bytes": 2 * 10**9})
    line.rows("iteration 3", 500, 1000)
    said = stream.getvalue().split("\r")[-1].rstrip()
    assert said == (
        "iteration 3: 500 of 1,000 rows, 40 MB/s, 62 s left"
        " | iteration 2: changed 7, 25% pruned, 250 MB/s, at most 5 min left"
    )


def test_a_live_line_has_no_rate_of_what_is_not_decoded(monkeypatch):
    stream, now = io.StringIO(), iter(range(0, 1000, 50))
    stream.isatty = lambda: True
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("daskcluster.engine.progress.time.monotonic", lambda: next(now))
    line = TextLine(stream)
    for done in (250, 500, 1000):
        line.rows("k-means++ 2", done, 1000)
    line.event("iteration", {"iteration": 1, "changed": 7, "bytes_per_second": 0.0})
    said = [part.rstrip() for part in stream.getvalue().split("\r")]
    assert said[2:] == [
        "k-means++ 2: 500 of 1,000 rows, 100 s left",
        "k-means++ 2: 1,000 rows",
        "iteration 1: changed 7",
    ]


def test_a_pass_says_what_it_took():
    told = []

    class Seen(Silent):
        def passed(self, facts):
            told.append(facts)

    with session([], progress=Seen()) as run:
        run.reduce(Sum(), "adding")
        run.reduce(Sum(), "a part", [1, 2])
        run.reduce(Sum(), "a told part", [1, 2], told=True)
        run.reduce(Sum(), "untold", told=False)
        assert run.last.title == "untold"
    assert [(facts["pass"], facts["rows"]) for facts in told] == [
        ("adding", 1000), ("a told part", 200),
    ]  # fmt: skip
    assert all(facts["pruned"] == 0 and facts["bytes"] > 0 for facts in told)


def test_rows_opened_anew_are_read_anew():
    """What a killed run left in a worker's memory may be of an array that was written again."""
    array = zarr.array(np.zeros((4, 2)))
    first, second = open_rows(array), open_rows(array)
    assert first.token != second.token
    assert pickle.loads(pickle.dumps(first)).token == first.token
