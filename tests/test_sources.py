"""Files against rows: every type and layout read back, every damage refused by name."""

import gzip
import hashlib
import itertools
import json
import os
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from idx_files import CODES, gzip_bytes, idx_bytes, idx_header, write_idx

from daskcluster.errors import InputError
from daskcluster.sources import (
    GzipIdxSource,
    IdxSource,
    NpySource,
    Source,
    open_source,
    scan_classes,
    sha256,
)

SHAPES = [(7,), (7, 3), (7, 2, 3), (5, 2, 3, 2), (3, 1, 2, 2, 3)]


def values(dtype, shape):
    """Values that use every byte of the type, its extremes among them."""
    rng = np.random.default_rng(len(shape))
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype)
    array = rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)
    array.flat[0], array.flat[-1] = info.min, info.max
    return array


def put(path, data):
    path.write_bytes(data)
    return path


def same(got, expected):
    """Equal bit for bit, and as every block must be: native, 2-d, C-contiguous."""
    assert got.dtype == expected.dtype
    assert got.dtype.isnative
    assert got.flags.c_contiguous
    assert got.shape == (len(expected), int(np.prod(expected.shape[1:], dtype=int)))
    assert got.tobytes() == np.ascontiguousarray(expected).tobytes()


def check_blocks(source, expected, rows):
    blocks = list(source.blocks(rows))
    assert [len(block) for block in blocks[:-1]] == [rows] * (len(blocks) - 1)
    assert 1 <= len(blocks[-1]) <= rows
    for block in blocks:
        assert block.flags.c_contiguous
    same(np.concatenate(blocks), expected)


def consume(path):
    """All a caller does with a file: open it and read it to its end."""
    source = open_source(path)
    return np.concatenate(list(source.blocks(3)))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A path that every example of a property test overwrites."""
    return tmp_path_factory.mktemp("sources") / "file"


# --- IDX: every type, rank and compression ------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", CODES)
def test_plain_idx(tmp_path, dtype, shape):
    array = values(dtype, shape)
    source = open_source(write_idx(tmp_path / "a.gz", array))  # the suffix lies
    assert isinstance(source, IdxSource)
    assert isinstance(source, Source)
    assert source.seekable
    assert (source.shape, source.n_rows, source.sample_shape) == (shape, shape[0], shape[1:])
    assert source.n_features == array.size // len(array)
    for start, stop in itertools.combinations_with_replacement(range(shape[0] + 1), 2):
        same(source.read(start, stop), array[start:stop])
    for rows in (1, 2, 3, shape[0], 100):
        check_blocks(source, array, rows)


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", CODES)
def test_gzip_idx(tmp_path, dtype, shape, members):
    array = values(dtype, shape)
    path = write_idx(tmp_path / "a.idx", array, compress=True, members=members)
    source = open_source(path)
    assert isinstance(source, GzipIdxSource)
    assert isinstance(source, Source)
    assert not source.seekable
    assert (source.shape, source.n_rows, source.sample_shape) == (shape, shape[0], shape[1:])
    for rows in (1, 2, 3, shape[0], 100):
        check_blocks(source, array, rows)
    with pytest.raises(InputError, match=r"a\.idx: a gzip stream cannot be read from row 0"):
        source.read(0, 1)


@pytest.mark.parametrize("compress", [False, True])
def test_255_dimensions(tmp_path, compress):
    shape = (2, *[1] * 253, 3)
    data = idx_header(0x08, shape) + bytes(range(6))
    source = open_source(put(tmp_path / "a", gzip_bytes(data) if compress else data))
    assert source.shape == shape
    check_blocks(source, np.arange(6, dtype="u1").reshape(2, 3), 1)


@pytest.mark.parametrize("compress", [False, True])
def test_special_floats_survive(tmp_path, compress):
    array = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    check_blocks(open_source(write_idx(tmp_path / "a", array, compress=compress)), array, 2)


def test_highly_compressible(tmp_path):
    array = np.zeros((1000, 784), dtype="u1")
    data = gzip.compress(idx_bytes(array), compresslevel=9)
    assert len(data) < array.nbytes / 900  # near deflate's limit, and still let in
    check_blocks(open_source(put(tmp_path / "a", data)), array, 333)


def test_zero_padding_after_gzip_is_no_fault(tmp_path):
    array = values("i2", (4, 2))
    path = put(tmp_path / "a", gzip_bytes(idx_bytes(array)) + bytes(512))
    check_blocks(open_source(path), array, 3)


def test_header_is_json(tmp_path):
    array = values("i2", (4, 2, 3))
    expected = {"format": "idx", "type": "int16", "shape": [4, 2, 3]}
    for compress, name in ((False, None), (True, "gzip")):
        source = open_source(write_idx(tmp_path / "a", array, compress=compress))
        assert json.loads(json.dumps(source.header())) == {**expected, "compression": name}
    np.save(tmp_path / "a.npy", np.asfortranarray(array[:, 0].astype(">f2")))
    header = open_source(tmp_path / "a.npy").header()
    assert json.loads(json.dumps(header)) == {
        "format": "npy",
        "type": "float16",
        "shape": [4, 3],
        "fortran_order": True,
        "compression": None,
    }


def test_sources_are_frozen_and_picklable(tmp_path):
    array = values("f4", (4, 3))
    np.save(tmp_path / "c.npy", array)
    write_idx(tmp_path / "a", array)
    write_idx(tmp_path / "b", array, compress=True)
    for name in ("a", "b", "c.npy"):
        source = open_source(str(tmp_path / name))
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        assert hash(copy) == hash(source)
        check_blocks(copy, array, 3)
        with pytest.raises(AttributeError):
            source.path = "other"


def test_read_from_many_threads(tmp_path):
    array = values("f8", (200, 5))
    source = open_source(write_idx(tmp_path / "a", array))
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda at: source.read(at, at + 10), range(0, 200, 10)))
    same(np.concatenate(got), array)


@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_gzip_holds_no_more_than_a_block(tmp_path, dtype):
    array = np.zeros((64, (1 << 20) // np.dtype(dtype).itemsize), dtype=dtype)
    source = open_source(write_idx(tmp_path / "a", array, compress=True))
    tracemalloc.start()
    for block in source.blocks(8):
        size = block.nbytes
        del block
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size + (2 << 20)


@pytest.mark.parametrize("rows", [0, -1])
@pytest.mark.parametrize("compress", [False, True])
def test_blocks_of_no_rows(tmp_path, compress, rows):
    source = open_source(write_idx(tmp_path / "a", values("u1", (3,)), compress=compress))
    with pytest.raises(InputError, match=f"{rows} rows per block; a block needs at least 1"):
        source.blocks(rows)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 4), (2, 1), (4, 4)])
def test_range_outside(tmp_path, start, stop):
    source = open_source(write_idx(tmp_path / "a", values("u1", (3, 2))))
    with pytest.raises(InputError, match=f"a: rows {start} to {stop} asked for.* 0 to 3"):
        source.read(start, stop)


# --- refusals ------------------------------------------------------------------------------

GOOD = idx_bytes(np.arange(12, dtype="i2").reshape(4, 3))

REFUSED_PLAIN = [
    (b"", "empty file"),
    (b"\x00", "begins with the bytes 00;.* IDX"),
    (b"PK\x03\x04rest", "begins with the bytes 50 4b 03 04; not IDX"),
    (b"<!DOCTYPE html><html>", "looks like a web page: the download probably failed"),
    (b"\xef\xbb\xbf\r\n <html>", "looks like a web page: the download probably failed"),
    (b"\x00\x00", "IDX header truncated: 2 bytes where it needs 4"),
    (b"\x00\x00\x08", "IDX header truncated: 3 bytes where it needs 4"),
    (idx_header(0x08, (2, 3))[:-1], "IDX header truncated: 11 bytes where it needs 12"),
    (
        idx_header(0x0A, (2,)) + bytes(2),
        "unknown IDX type code 0x0a; the six known ones are 0x08 uint8, 0x09 int8, "
        "0x0b int16, 0x0c int32, 0x0d float32, 0x0e float64",
    ),
    (idx_header(0x08, ()) + b"\x05", "zero dimensions"),
    (idx_header(0x08, (0,)), "zero rows"),
    (idx_header(0x08, (0, 28, 28)), r"zero rows \(shape \(0, 28, 28\)\)"),
    (idx_header(0x08, (5, 28, 0)), r"dimension 2 is 0 \(shape \(5, 28, 0\)\)"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED_PLAIN)
def test_refused(tmp_path, data, message):
    with pytest.raises(InputError, match="some-file: " + message):
        open_source(put(tmp_path / "some-file", data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[:-3], "truncated: the header declares 36 bytes, the file has 33"),
        (GOOD + b"\x00", "1 trailing bytes: the header declares 36 bytes, the file has 37"),
        (idx_header(0x0E, (2**32 - 1,) * 255), r"truncated: the header declares \d{2000,} bytes"),
    ],
)
def test_refused_size(tmp_path, data, message):
    with pytest.raises(InputError, match="some-file: " + message):
        open_source(put(tmp_path / "some-file", data))


@pytest.mark.parametrize(("data", "message"), REFUSED_PLAIN[1:])
def test_refused_within_gzip(tmp_path, data, message):
    within = "a gzip within which there is no IDX: its content "
    prefix = "some-file: " if data.startswith(b"\x00\x00") else "some-file: " + within
    with pytest.raises(InputError, match=prefix + message):
        open_source(put(tmp_path / "some-file", gzip_bytes(data)))


def test_empty_gzip(tmp_path):
    with pytest.raises(InputError, match="a gzip within which there is no IDX: its content is em"):
        open_source(put(tmp_path / "a", gzip_bytes(b"")))


def test_gzip_of_gzip_and_of_npy(tmp_path):
    for inner in (gzip_bytes(GOOD), b"\x93NUMPY"):
        with pytest.raises(InputError, match="gzip within which there is no IDX: its content beg"):
            open_source(put(tmp_path / "a", gzip_bytes(inner)))


def test_gzip_declares_more_than_it_can_hold(tmp_path):
    path = put(tmp_path / "a", gzip_bytes(idx_header(0x0E, (2**32 - 1,) * 3) + bytes(50)))
    with pytest.raises(InputError, match=r"a: truncated: the header declares .*limit is 1032:1"):
        open_source(path)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[:-3], "the data ended early, 3 bytes before the end of row 3 of 4 declared"),
        (GOOD + b"\x00", "trailing bytes after the 4 rows its header declares"),
    ],
)
def test_gzip_of_another_length(tmp_path, data, message, members):
    source = open_source(put(tmp_path / "some-file", gzip_bytes(data, members)))
    blocks = source.blocks(3)
    same(next(blocks), np.arange(9, dtype="i2").reshape(3, 3))
    with pytest.raises(InputError, match="some-file: " + message):
        next(blocks)


def wrong_crc(data):
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


def wrong_length(data):
    return data[:-4] + bytes([data[-4] ^ 1]) + data[-3:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "damaged or cut-short gzip .*end-of-stream"),
        (lambda data: data[:-8], "damaged or cut-short gzip .*end-of-stream"),
        (lambda data: data[: len(data) // 2], "damaged or cut-short gzip .*end-of-stream"),
        (lambda data: data[:2], "damaged or cut-short gzip .*end-of-stream"),
        (wrong_crc, "damaged or cut-short gzip .*CRC check failed"),
        (wrong_length, "damaged or cut-short gzip .*length"),
        (lambda data: data + b"junk", "damaged or cut-short gzip .*Not a gzipped file"),
        (lambda data: data[:10] + b"\xff" * 20, "damaged or cut-short gzip .*invalid"),
    ],
)
def test_damaged_gzip(tmp_path, damage, message):
    data = gzip_bytes(idx_bytes(values("f8", (50, 100))))
    with pytest.raises(InputError, match="some-file: " + message):
        consume(put(tmp_path / "some-file", damage(data)))


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="gone: no such file"):
        open_source(tmp_path / "gone")
    with pytest.raises(InputError, match="a folder, not a file"):
        open_source(tmp_path)
    with pytest.raises(InputError, match="not a path"):
        open_source("a\0b")
    with pytest.raises(InputError, match="must be text, not bytes"):
        open_source(b"name")
    with pytest.raises(InputError, match="cannot be read"):
        open_source("x" * 5000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe or device"):
        open_source(tmp_path / "pipe")


def test_permission_denied(tmp_path, monkeypatch):
    path = write_idx(tmp_path / "a", values("u1", (3,)))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root, who may run this, may read all
    with pytest.raises(InputError, match=r"a: cannot be read \(Permission denied\)"):
        open_source(path)


def test_file_changes_after_opening(tmp_path):
    array = values("i4", (4, 3))
    for name, compress in (("a", False), ("b", True)):
        path = write_idx(tmp_path / name, array, compress=compress)
        source = open_source(path)
        write_idx(path, array[:3], compress=compress)
        with pytest.raises(InputError, match=f"{name}: .*changed"):
            list(source.blocks(2))
        path.unlink()
        with pytest.raises(InputError, match=f"{name}: cannot be read .No such file"):
            list(source.blocks(2))


def test_seekable_file_grows_while_read(tmp_path):
    path = write_idx(tmp_path / "a", values("i4", (4, 3)))
    blocks = open_source(path).blocks(2)
    next(blocks)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match="the file changed while it was being read"):
        next(blocks)


# --- properties ----------------------------------------------------------------------------


def arrays(max_dims=5):
    return st.sampled_from(sorted(CODES)).flatmap(
        lambda dtype: hnp.arrays(
            dtype, hnp.array_shapes(min_dims=1, max_dims=max_dims, max_side=5), fill=st.nothing()
        )
    )


@given(array=arrays(), rows=st.integers(1, 7), data=st.data())
def test_plain_is_the_identity(scratch, array, rows, data):
    source = open_source(write_idx(scratch, array))
    start = data.draw(st.integers(0, len(array)))
    stop = data.draw(st.integers(start, len(array)))
    same(source.read(start, stop), array[start:stop])
    check_blocks(source, array, rows)


@given(array=arrays(), rows=st.integers(1, 7), members=st.integers(1, 4))
def test_gzip_is_the_identity(scratch, array, rows, members):
    write_idx(scratch, array, compress=True, members=members)
    check_blocks(open_source(scratch), array, rows)


@given(array=arrays(3), extra=st.binary(min_size=1, max_size=40), data=st.data())
def test_any_other_length_is_refused(scratch, array, extra, data):
    whole = idx_bytes(array)
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for wrong in (short, whole + extra):
        for members in (0, 1, 2):
            put(scratch, gzip_bytes(wrong, members) if members else wrong)
            with pytest.raises(InputError, match=r"file: "):
                consume(scratch)


@given(array=arrays(3), extra=st.binary(min_size=1, max_size=40), data=st.data())
def test_any_cut_of_the_gzip_itself_is_refused(scratch, array, extra, data):
    whole = gzip_bytes(idx_bytes(array), data.draw(st.integers(1, 3)))
    assume(extra.strip(b"\0"))  # gzip allows padding with zeros
    for wrong in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + extra):
        put(scratch, wrong)
        with pytest.raises(InputError, match=r"file: "):
            consume(scratch)


@given(array=arrays(2), at=st.integers(0), flip=st.integers(1, 255), compress=st.booleans())
def test_a_damaged_byte_is_refused_or_harmless(scratch, array, at, flip, compress):
    whole = bytearray(gzip_bytes(idx_bytes(array)) if compress else idx_bytes(array))
    whole[at % len(whole)] ^= flip
    put(scratch, bytes(whole))
    try:
        got = consume(scratch)
    except InputError:
        return
    if compress:  # only fields of the gzip header that mean nothing may differ
        same(got, array)


starts = st.sampled_from([b"", b"\x00\x00", b"\x00\x00\x08\x01", b"\x1f\x8b\x08\x00", b"<"])


@settings(max_examples=100)
@given(start=starts, rest=st.binary(max_size=100), compress=st.booleans())
def test_random_bytes(scratch, start, rest, compress):
    put(scratch, gzip_bytes(start + rest) if compress else start + rest)
    try:
        source = open_source(scratch)
        rows = sum(len(block) for block in source.blocks(2**20))
    except InputError:
        return
    assert rows == source.n_rows


# --- NPY -----------------------------------------------------------------------------------

NPY_TYPES = {
    **{name: name for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8")},
    "?": "u1",
    "f2": "f4",
    "u8": "i8",
}


def npy_values(dtype, shape):
    kind = np.dtype(dtype)
    if kind.itemsize == 8 and kind.kind in "iu":
        array = np.random.default_rng(0).integers(0, 2**53, size=shape).astype(kind)
        array.flat[0], array.flat[-1] = 2**53, -(2**53) if kind.kind == "i" else 0
        return array
    return values("u1", shape) % 2 == 1 if kind.kind == "b" else values(kind, shape)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", NPY_TYPES)
def test_npy(tmp_path, dtype, shape, byteorder, order):
    array = npy_values(dtype, shape)
    np.save(tmp_path / "a.npy", np.asarray(array, array.dtype.newbyteorder(byteorder), order=order))
    source = open_source(tmp_path / "a.npy")
    assert isinstance(source, NpySource)
    assert isinstance(source, Source)
    assert source.fortran_order == (order == "F" and len(shape) > 1)
    assert source.shape == shape
    expected = array.astype(NPY_TYPES[dtype])
    for start, stop in ((0, shape[0]), (1, 3), (2, 2), (2, shape[0])):
        same(source.read(start, stop), expected[start:stop])
    for rows in (1, 2, shape[0], 100):
        check_blocks(source, expected, rows)


class Bomb:
    def __reduce__(self):
        return (os._exit, (7,))  # ends the test run if anything unpickles it


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([Bomb()], dtype=object), "values of type object"),
        (np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]), "values of type "),
        (np.array(["a", "bc"]), "values of type <U2"),
        (np.array([b"a", b"bc"]), r"values of type \|S2"),
        (np.zeros(3, dtype="c8"), "values of type complex64"),
        (np.zeros(3, dtype="M8[s]"), "values of type datetime64"),
        (np.zeros(3, dtype="m8[s]"), "values of type timedelta64"),
        (np.zeros(3, dtype="V8"), r"values of type \|V8"),
        (np.zeros(3, dtype=np.longdouble), "values of type float128"),
        (np.float64(3), "zero dimensions"),
        (np.zeros((0, 4)), r"zero rows \(shape \(0, 4\)\)"),
        (np.zeros((4, 2, 0)), r"dimension 2 is 0 \(shape \(4, 2, 0\)\)"),
    ],
)
def test_npy_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: " + message):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("i8", 2**53 + 1),
        ("i8", -(2**53) - 1),
        ("i8", -(2**63)),
        ("u8", 2**53 + 1),
        ("u8", 2**64 - 1),
    ],
)
def test_npy_integers_past_float64(tmp_path, dtype, value, order):
    array = np.zeros((9, 2, 2), dtype=dtype, order=order)
    array[6, 1, 0] = value
    np.save(tmp_path / "a.npy", array)
    source = open_source(tmp_path / "a.npy")
    message = f"row 6, feature 2 is {value}, which cannot be held exactly as float64"
    for read in (lambda: source.read(5, 8), lambda: list(source.blocks(4))):
        with pytest.raises(InputError, match=r"a\.npy: " + message):
            read()
    same(source.read(0, 6), np.zeros((6, 4), dtype="i8"))


def npy_bytes(header, data=b"", version=1):
    text = header.encode("latin1")
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


@pytest.mark.parametrize("version", [1, 2, 3])
def test_npy_versions(tmp_path, version):
    header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n"
    array = np.arange(6, dtype="i2").reshape(2, 3)
    path = put(tmp_path / "a", npy_bytes(header, array.astype("<i2").tobytes(), version))
    check_blocks(open_source(path), array, 1)


HEADER = "{{'descr': {}, 'fortran_order': {}, 'shape': {}}}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x93NUMPY", "damaged NPY header"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "damaged NPY header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "damaged NPY header"),
        (b"\x93NUMPY\x09\x00\x00\x00", "damaged NPY header"),
        (npy_bytes("[" * 5000), "damaged NPY header"),
        (npy_bytes("{1: 2, 'a': 3}"), "damaged NPY header"),
        (npy_bytes(HEADER.format("'q'", "0", "(3,)")), "damaged NPY header"),
        (npy_bytes(HEADER.format("'nonsense'", "False", "(3,)")), "damaged NPY header"),
        (npy_bytes(HEADER.format("'<f4'", "False", "3")), "damaged NPY header"),
        (npy_bytes(HEADER.format("'<f4'", "False", "(3, -1)")), "dimension 1 is -1"),
        (npy_bytes(HEADER.format("'<f4'", "False", "(-3, 1)")), "dimension 0 is -3"),
        (npy_bytes(HEADER.format("'<f4'", "True", (1,) * 65)), "damaged .* the 64 dimensions"),
        (
            npy_bytes(HEADER.format("'<f4'", "False", "(0x" + "f" * 8000 + ",)")),
            "damaged .* each below 2",
        ),
        (npy_bytes(HEADER.format("'<f4'", "False", (2**62, 2**62))), "truncated: .* has "),
        (npy_bytes(HEADER.format("'<f4'", "False", "(2,)"), bytes(7)), "truncated: "),
        (npy_bytes(HEADER.format("'<f4'", "False", "(2,)"), bytes(9)), "1 trailing bytes: "),
    ],
)
def test_npy_damaged(tmp_path, data, message):
    with pytest.raises(InputError, match="some-file: " + message):
        open_source(put(tmp_path / "some-file", data))


@pytest.mark.parametrize("order", "CF")
def test_npy_changes_after_opening(tmp_path, order):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 3), order=order))
    source = open_source(path)
    np.save(path, np.zeros((3, 3), order=order))
    with pytest.raises(InputError, match="the file changed while it was being read"):
        source.read(0, 1)


def test_npy_of_any_other_length_is_refused(scratch):
    np.save(scratch.with_suffix(".npy"), values("f4", (3, 2)))
    whole = scratch.with_suffix(".npy").read_bytes()
    for length in range(len(whole)):
        with pytest.raises(InputError, match=r"file: "):
            open_source(put(scratch, whole[:length]))


parts = st.one_of(
    st.text(max_size=20).map(repr),
    st.sampled_from(["'<f4'", "'O'", "'<u8'", "True", "False", "(3,)", "(2, -1)", "None"]),
    st.lists(st.integers(), max_size=4).map(lambda items: repr(tuple(items))),
)


@settings(max_examples=100)
@given(
    header=st.one_of(
        st.builds(HEADER.format, parts, parts, parts).map(str.encode), st.binary(max_size=80)
    ),
    data=st.binary(max_size=24),
    version=st.integers(0, 4),
)
def test_random_npy(scratch, header, data, version):
    put(scratch, npy_bytes(header.decode("latin1"), data, version))
    try:
        source = open_source(scratch)
        rows = sum(len(block) for block in source.blocks(5))
    except InputError:
        return
    assert rows == source.n_rows


@given(array=arrays(4), order=st.sampled_from("CF"), rows=st.integers(1, 7), data=st.data())
def test_npy_is_the_identity(scratch, array, order, rows, data):
    path = scratch.with_suffix(".npy")
    np.save(path, np.asarray(array, order=order))
    source = open_source(path)
    start = data.draw(st.integers(0, len(array)))
    stop = data.draw(st.integers(start, len(array)))
    same(source.read(start, stop), array[start:stop])
    check_blocks(source, array, rows)


# --- what is asked of any source -----------------------------------------------------------


def test_sha256(tmp_path):
    data = bytes(range(256)) * 5000
    path = put(tmp_path / "a", data)
    assert sha256(path) == sha256(str(path)) == hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match="no such file"):
        sha256(tmp_path / "gone")
    with pytest.raises(InputError, match="a folder"):
        sha256(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4"])
def test_scan_classes(tmp_path, dtype, compress):
    array = np.array([5, 1, 9, 1, 1, 5, 0], dtype=dtype)
    if dtype != "u1":
        array[0] = -5
    source = open_source(write_idx(tmp_path / "a", array, compress=compress))
    for rows in (1, 2, 100):
        got = scan_classes(source, rows)
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, np.unique(array))


def test_scan_classes_column_and_limit(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10)[:, None])
    source = open_source(tmp_path / "a.npy")
    np.testing.assert_array_equal(scan_classes(source, limit=10), np.arange(10))
    with pytest.raises(InputError, match="more than 9 distinct classes; is this a label file"):
        scan_classes(source, 3, limit=9)


def test_scan_classes_refusals(tmp_path):
    with pytest.raises(InputError, match=r"shape \(4, 28, 28\) is not one label per row"):
        scan_classes(open_source(write_idx(tmp_path / "a", np.zeros((4, 28, 28), "u1"))))
    with pytest.raises(InputError, match="labels of type float32; they must be integers"):
        scan_classes(open_source(write_idx(tmp_path / "a", np.zeros(4, "f4"))))
