"""What the fuzzer does to good files: bytes at random, or what a format says of itself.

All choices are a `random.Random`'s, so that a case is known by the seed it was made of, and
hypothesis can make smaller ones that do the same.
"""

import gzip
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import google_crc32c
import numpy as np

Case = dict[str, bytes]
"""The files of a folder by their names."""
Change = Callable[[bytes, random.Random], bytes]

HUGE = (0x7FFFFFFF, 0xFFFFFFFF, 2**62, 2**63 - 1, 2**64 - 1)
_DIGITS, _DEEP = "@digits@", "@deep@"
WEIRD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**300, 10**4000, -(10**30), 0.5,
    -0.0, 1e308, float("nan"), float("inf"), -float("inf"), "", "x", "0", "inf", "\0", "\ud800",
    "\n", "x" * 5000, "../outside", "/etc/passwd", "a/b", ".", "..", [], {}, [[]], [None], {"": 0},
    [0] * 1000, _DIGITS, _DEEP,
)  # fmt: skip


def flip(data: bytes, rng: random.Random) -> bytes:
    """One bit is another."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def put_byte(data: bytes, rng: random.Random) -> bytes:
    """One byte is another; oftener one of the first, where headers are."""
    at = rng.randrange(min(len(data), rng.choice([32, len(data)])))
    return (
        data[:at]
        + bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])])
        + (data[at + 1 :])
    )


def truncate(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(len(data))]


def extend(data: bytes, rng: random.Random) -> bytes:
    """There is more behind."""
    return data + rng.randbytes(rng.choice([1, 3, 4, 100]))


def cut_out(data: bytes, rng: random.Random) -> bytes:
    """A piece is missing."""
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 64) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """A piece is there many times."""
    at = rng.randrange(len(data))
    piece = data[at : at + rng.randint(1, 64)]
    return data[:at] + piece * rng.choice([2, 3, 200]) + data[at:]


def put_huge(data: bytes, rng: random.Random) -> bytes:
    """A number of the header is huge."""
    number, order = rng.choice(HUGE), rng.choice("<>")
    kind = rng.choice("IQ" if number < 2**32 else "Q")
    packed = struct.pack(f"{order}{kind}", number)
    at = rng.randrange(min(len(data), rng.choice([32, len(data)])))
    return data[:at] + packed + data[at + len(packed) :]


def noise(data: bytes, rng: random.Random) -> bytes:
    """Random bytes, behind the first ones of what was there."""
    return data[: rng.choice([0, 2, 4, 8])] + rng.randbytes(rng.choice([0, 1, 16, 300]))


_BYTE_CHANGES: tuple[Change, ...] = (
    flip, put_byte, truncate, extend, cut_out, repeat, put_huge, noise,
)  # fmt: skip


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Any change that knows nothing of formats."""
    return rng.choice(_BYTE_CHANGES)(data, rng) if data else rng.randbytes(rng.choice([1, 20]))


def to_json(value: Any) -> bytes:
    """JSON, with what Python would not write: endless integers and brackets."""
    text = json.dumps(value)
    text = text.replace(f'"{_DIGITS}"', "9" * 5000)
    return text.replace(f'"{_DEEP}"', "[" * 50_000 + "]" * 50_000).encode()


def change_json(data: bytes, rng: random.Random) -> bytes:
    """A value is of another type or size, missing, or beside others that nobody knows."""
    if rng.random() < 0.15:
        return change_bytes(data, rng)
    value = [json.loads(data)]
    for _ in range(rng.choice([1, 1, 1, 3])):
        _change_inside(value, rng)
    return to_json(value[0])


def _change_inside(value: list[Any], rng: random.Random) -> None:
    holder, key = rng.choice(list(_places(value)))
    kind = rng.randrange(8)
    if kind == 0 and holder is not value:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(["new", "array", "file", "", "\ud800"])] = rng.choice(WEIRD)
    elif kind == 2 and isinstance(holder[key], list):
        holder[key] = holder[key] * rng.choice([0, 2, 50])
    elif kind == 3:
        holder[key] = rng.choice([[holder[key]], {"array": holder[key]}, str(holder[key])])
    elif kind == 4 and type(holder[key]) in (int, float):
        holder[key] = holder[key] * rng.choice([-1, 2, 1000]) + rng.choice([-1, 0, 1])
    else:
        holder[key] = rng.choice(WEIRD)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value within, as what holds it and its key."""
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], list | dict):
            yield from _places(value[key])


def change_gzip(inner: Change) -> Change:
    """What is packed is another, or the packing is damaged."""

    def change(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return change_bytes(data, rng)
        return gzip.compress(inner(gzip.decompress(data), rng), 1, mtime=0)

    return change


def change_npz(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint of another state, whose checksums are right; or a damaged one."""
    if rng.random() < 0.15:
        return change_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(files))
    if rng.random() < 0.7:
        name = next(name for name in files if "json" in name)
        files[name] = _npy(np.frombuffer(change_json(_values(files[name]), rng), np.uint8))
    elif rng.random() < 0.5:
        files[name] = change_npy(files[name], rng)
    else:
        del files[name]
    packed = io.BytesIO()
    kind = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _values(npy: bytes) -> bytes:
    return np.load(io.BytesIO(npy)).tobytes()


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


_SHAPES = (
    "(0,)", "()", "(1,)", "(3, 0)", "(1000000000000,)", "(1, 1000000000)", f"({2**63},)", "(-1,)",
    f"({'9' * 5000},)", "(True,)", "(1.5,)", "(3, 3)", "(2, 2, 2)",
)  # fmt: skip


def change_npy(data: bytes, rng: random.Random) -> bytes:
    """Another array, type or header."""
    kind = rng.randrange(5)
    if kind == 0:
        return change_bytes(data, rng)
    if kind == 1:
        return _npy(np.array([{"a": set()}], dtype=object))
    if kind == 2:
        types = ["|O", "<U9", "<c16", "<f8", ">f8", "<i8", "|b1", "<M8[s]", "|V8", "[('a', '<f8')]"]
        return _with_header(data, "descr", rng.choice(types))
    if kind == 3:
        return _with_header(data, "shape", rng.choice(_SHAPES))
    array = np.load(io.BytesIO(data))
    values = [0, -1, 1, 2**40, np.nan, np.inf, 1e308, -1e308, 1e-320]
    with np.errstate(invalid="ignore", over="ignore"):
        changed = array.astype(rng.choice(["f8", "f4", "i8", "u1"]))
        if changed.size:
            at = rng.randrange(changed.size)
            changed.reshape(-1)[at] = np.float64(rng.choice(values)).astype(changed.dtype)
    return _npy(changed if rng.random() < 0.8 else changed[:1])


def _with_header(data: bytes, key: str, text: str) -> bytes:
    """An NPY file that says something else of itself."""
    size = struct.unpack_from("<H", data, 8)[0]
    facts = {"descr": "'<f8'", "fortran_order": "False", "shape": "(3, 3)"}
    for name, value in _header_of(data[10 : 10 + size]).items():
        facts[name] = repr(value)
    facts[key] = text if text.startswith(("(", "[")) else repr(text)
    inner = "{" + ", ".join(f"'{name}': {value}" for name, value in facts.items()) + "}\n"
    return data[:8] + struct.pack("<H", len(inner)) + inner.encode() + data[10 + size :]


def _header_of(text: bytes) -> dict[str, Any]:
    found = np.lib.format.read_array_header_1_0(io.BytesIO(struct.pack("<H", len(text)) + text))
    return dict(zip(("shape", "fortran_order"), found[:2], strict=True)) | {"descr": found[2].str}


def change_tar(data: bytes, rng: random.Random) -> bytes:
    """A header of another name, size or kind, whose checksum is right; or other bytes."""
    if rng.random() < 0.3 or len(data) < 1024:
        return change_bytes(data, rng)
    starts = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    if not starts:
        return change_bytes(data, rng)
    at = rng.choice(starts)
    head = bytearray(data[at : at + 512])
    low, high = rng.choice([(0, 100), (100, 108), (124, 136), (136, 148), (156, 157), (157, 257),
                            (257, 265), (329, 345), (345, 500)])  # fmt: skip
    text = rng.choice([
        b"../../outside", b"/etc/passwd", b"\xff\xfe", b"77777777777\0", b"\x80" + b"\xff" * 11,
        b"-1", b"", b"a" * 100, b"L", b"x", b"1", b"2", b"S", b"K", b"g", b"docs/a", b".",
        rng.randbytes(8),
    ])[: high - low]  # fmt: skip
    head[low:high] = text.ljust(high - low, b"\0")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:at] + bytes(head) + data[at + 512 :]


def change_chunk(data: bytes, rng: random.Random) -> bytes:
    """A chunk of other bytes, oftener than not with the checksum of these."""
    if rng.random() < 0.3 or len(data) < 5:
        return change_bytes(data, rng)
    inner = change_bytes(data[:-4], rng)
    return inner + google_crc32c.value(inner).to_bytes(4, "little")


def change_lines(data: bytes, rng: random.Random) -> bytes:
    """A line of JSON is another."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = change_json(lines[at], rng) if lines[at] else change_bytes(b"{}", rng)
    return b"\n".join(lines)


def change_text(data: bytes, rng: random.Random) -> bytes:
    """A field of a table is another, or there are more or fewer."""
    if rng.random() < 0.3:
        return change_bytes(data, rng)
    lines = [line.split(b",") for line in data.split(b"\n")]
    fields = rng.choice(lines)
    at = rng.randrange(len(fields))
    fields[at : at + rng.choice([0, 1, 1, 1, 2])] = [rng.choice([
        b"", b"nan", b"1e400", b"-inf", b"9" * 400, b'"', b'"a,b"', b"x", b"\xff", b"0x1", b"true",
        b"1.5", b"9223372036854775808", b"\0", b"a" * 70_000, b"\r", b"\xed\xa0\x80",
    ])]  # fmt: skip
    return b"\n".join(b",".join(fields) for fields in lines)


def change_files(case: Case, change: Callable[[str], Change], rng: random.Random) -> Case:
    """A case with a file or two that are others, or missing."""
    changed = dict(case)
    for _ in range(rng.choice([1, 1, 1, 2])):
        name = rng.choice(sorted(case))
        if rng.random() < 0.03:
            changed.pop(name, None)
        elif rng.random() < 0.03:
            changed[name] = case[rng.choice(sorted(case))]
        elif name in changed:
            try:
                changed[name] = change(name)(changed[name], rng)
            # What an earlier change left may be nothing that the format's own change can read.
            except Exception:
                changed[name] = change_bytes(changed[name], rng)
    return changed
