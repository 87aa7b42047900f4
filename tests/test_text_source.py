"""Corpora against documents: folders, archives and JSON lines read back, every damage refused."""

import bz2
import contextlib
import gc
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_files

from daskcluster.errors import InputError
from daskcluster.sources import archive, jsonlines
from daskcluster.sources.documents import Document, Documents, SeekableDocuments, row_order
from daskcluster.sources.folder import FolderDocuments
from daskcluster.sources.jsonlines import JsonLines
from daskcluster.sources.text import ArchiveDocuments, open_documents

CORPUS = {
    "sci.med/59284": "From: a doctor\n\nvitamins",
    "sci.med/.hidden": "hidden files are documents too",
    "sci.med/empty": "",
    "sci.med-old/1": "a hyphen sorts before a slash",
    "sci/10": "ten",
    "sci/9": "nine, after ten",
    "Alt/ü": "größer: 漢字 \U0001f600",
}
IN_ORDER = [
    "Alt/ü", "sci/10", "sci/9", "sci.med/.hidden", "sci.med/59284", "sci.med/empty",
    "sci.med-old/1",
]  # fmt: skip
PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "lzma": None}


def pack(data, compression):
    if compression == "lzma":
        return lzma.compress(data, lzma.FORMAT_ALONE)
    return PACKERS[compression](data) if compression else data


def put_folder(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def member(name, content=b"", kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar_bytes(members, form=tarfile.PAX_FORMAT):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as made:
        for info, content in members:
            made.addfile(info, io.BytesIO(content))
    return target.getvalue()


def tar_of(files, **options):
    contents = {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}
    return tar_bytes([member(name, content) for name, content in contents.items()], **options)


def under(folder, files):
    return {f"{folder}/{name}": content for name, content in files.items()}


def put(path, data):
    path.write_bytes(data)
    return path


def consume(path, **options):
    """All a caller does with a corpus: open it and read it to its end."""
    return list(open_documents(path, **options).stream())


def as_documents(files, labelled=True):
    return [
        Document(name, name.split("/")[0] if labelled else None, content)
        for name, content in files.items()
    ]


def by_name(documents):
    return sorted(documents, key=lambda document: row_order(document.name))


def expected(files):
    return by_name(as_documents(files))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A path that every example of a property test overwrites."""
    return tmp_path_factory.mktemp("corpora") / "file"


# --- folders -------------------------------------------------------------------------------


def test_folder(tmp_path):
    source = open_documents(put_folder(tmp_path, CORPUS))
    assert isinstance(source, FolderDocuments)
    assert isinstance(source, Documents)
    assert isinstance(source, SeekableDocuments)
    assert (source.labelled, source.seekable, source.sorted) == (True, True, True)
    assert source.path == str(tmp_path)
    assert source.files() == [str(tmp_path)]
    assert source.n_documents == len(CORPUS)
    documents = list(source.stream())
    assert [document.name for document in documents] == IN_ORDER
    assert documents == expected(CORPUS)
    for start in range(len(documents) + 1):
        for stop in range(start, len(documents) + 1):
            assert source.read(start, stop) == documents[start:stop]


def check_like_sklearn(folder, documents):
    theirs = load_files(folder, encoding="utf-8", shuffle=False)
    assert [str(folder / document.name) for document in documents] == list(theirs.filenames)
    assert [document.text for document in documents] == theirs.data
    labels = [theirs.target_names[target] for target in theirs.target]
    assert [document.label for document in documents] == labels


def test_order_is_that_of_load_files(tmp_path):
    put_folder(tmp_path, {**CORPUS, "README": "beside the categories", ".DS_Store": b"\0\1"})
    (tmp_path / "without documents").mkdir()
    source = open_documents(tmp_path)
    check_like_sklearn(tmp_path, list(source.stream()))
    assert source.header()["n_ignored"] == 2


file_names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=5
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.sets(st.tuples(file_names, file_names), min_size=1, max_size=12))
def test_any_folder_goes_like_load_files(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("folder")
    put_folder(folder, {"/".join(name): str(place) for place, name in enumerate(names)})
    check_like_sklearn(folder, list(open_documents(folder).stream()))


def test_relative_path_is_made_absolute(tmp_path, monkeypatch):
    put_folder(tmp_path / "corpus", CORPUS)
    monkeypatch.chdir(tmp_path)
    source = open_documents("corpus")
    monkeypatch.chdir("/")
    assert source.path == str(tmp_path / "corpus")
    assert list(source.stream()) == expected(CORPUS)


def test_folder_of_files_alone_has_no_labels(tmp_path):
    files = {"b": "two", "a": "one", ".c": "three"}
    source = open_documents(put_folder(tmp_path, files))
    assert source.labelled is False
    assert list(source.stream()) == [
        Document(".c", None, "three"),
        Document("a", None, "one"),
        Document("b", None, "two"),
    ]


def test_subfolder_of_a_folder(tmp_path):
    put_folder(tmp_path, {**under("deep/train", CORPUS), "deep/test/sci/1": "not this one"})
    for given_name in ("deep/train", "deep/train/", "./deep//train"):
        source = open_documents(tmp_path, subfolder=given_name)
        assert list(source.stream()) == expected(CORPUS)
        assert source.path == str(tmp_path)
        assert source.files() == [str(tmp_path / "deep/train")]
        assert source.header()["subfolder"] == "deep/train"
    assert consume(tmp_path, subfolder="deep/train/sci") == [
        Document("10", None, "ten"),
        Document("9", None, "nine, after ten"),
    ]


@pytest.mark.parametrize("name", ["", ".", "/", "/etc", "..", "a/../..", "sci/../../x"])
def test_subfolder_that_is_none(tmp_path, name):
    put_folder(tmp_path / "folder", CORPUS)
    put(tmp_path / "a.tar", tar_of(CORPUS))
    for path in (tmp_path / "folder", tmp_path / "a.tar"):
        with pytest.raises(InputError, match=f"{path.name}: .* is no folder within it"):
            open_documents(path, subfolder=name)


def test_subfolder_that_is_not_there(tmp_path):
    put_folder(tmp_path, {**CORPUS, "file": ""})
    with pytest.raises(InputError, match=r"gone: leads nowhere .*No such file"):
        open_documents(tmp_path, subfolder="gone")
    with pytest.raises(InputError, match=r"file: cannot be read \(Not a directory\)"):
        open_documents(tmp_path, subfolder="file")


def test_nested_folder(tmp_path):
    put_folder(tmp_path, under("train", CORPUS))
    message = r"train/Alt: a folder within a category; .* with --subfolder, such as train"
    with pytest.raises(InputError, match=message):
        open_documents(tmp_path)
    put_folder(tmp_path, {"deep/train/a/1": ""})
    with pytest.raises(InputError, match=r"deep/train/a: .* --subfolder, such as deep/train$"):
        open_documents(tmp_path, subfolder="deep")


@pytest.mark.parametrize("folders", [[], ["a"], ["a", "b"]])
def test_folder_without_documents(tmp_path, folders):
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{tmp_path.name}: no documents in it; give a folder of"):
        open_documents(tmp_path)


def test_files_beside_empty_categories(tmp_path):
    put_folder(tmp_path, {"README": "which load_files does not read"})
    (tmp_path / "category").mkdir()
    with pytest.raises(InputError, match="no documents in it"):
        open_documents(tmp_path)


def test_links_within_the_folder(tmp_path):
    put_folder(tmp_path, {"a/1": "one", "a/2": "two"})
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a/3").symlink_to("1")
    documents = consume(tmp_path)
    check_like_sklearn(tmp_path, documents)
    assert [document.text for document in documents] == ["one", "two", "one"] * 2


def test_the_folder_itself_may_be_a_link(tmp_path):
    put_folder(tmp_path / "there", CORPUS)
    (tmp_path / "here").symlink_to("there")
    source = open_documents(tmp_path / "here")
    assert source.path == str(tmp_path / "here")
    assert list(source.stream()) == expected(CORPUS)


@pytest.mark.parametrize("name", ["category", "a/document", "README"])
def test_links_out_of_the_folder(tmp_path, name):
    put_folder(tmp_path, {"inside/a/1": "one", "outside/x": "secret"})
    target = tmp_path / ("outside" if name == "category" else "outside/x")
    (tmp_path / "inside" / name).symlink_to(target)
    with pytest.raises(InputError, match=f"{name}: a link out of the folder, to .*outside"):
        open_documents(tmp_path / "inside")


def test_subfolder_that_is_a_link_out(tmp_path):
    put_folder(tmp_path, {"inside/a/1": "one", "outside/a/x": "secret"})
    (tmp_path / "inside/sub").symlink_to("../outside")
    with pytest.raises(InputError, match="sub: a link out of the folder"):
        open_documents(tmp_path / "inside", subfolder="sub")


@pytest.mark.parametrize("target", ["gone", "loop"])
def test_links_that_lead_nowhere(tmp_path, target):
    put_folder(tmp_path, {"a/1": "one"})
    (tmp_path / "a/loop").symlink_to(target)
    with pytest.raises(InputError, match="loop: leads nowhere"):
        open_documents(tmp_path)


@pytest.mark.parametrize("name", ["pipe", "a/pipe"])
def test_pipes(tmp_path, name):
    put_folder(tmp_path, {"a/1": "one"})
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="pipe: a pipe or device"):
        open_documents(tmp_path)


def test_names_that_are_not_utf8(tmp_path):
    put_folder(tmp_path, {"a/1": "one"})
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff")).write_bytes(b"")
    with pytest.raises(InputError, match=r"a.\\udcff.: the name is not UTF-8; rename it"):
        open_documents(tmp_path)


def test_folder_changes_after_opening(tmp_path):
    put_folder(tmp_path, {"inside/a/1": "one", "secret": "s"})
    source = open_documents(tmp_path / "inside")
    path = tmp_path / "inside/a/1"
    path.unlink()
    with pytest.raises(InputError, match=r"a/1: cannot be read \(No such file"):
        source.read(0, 1)
    path.symlink_to("../../secret")
    with pytest.raises(InputError, match="a/1: a link out of the folder"):
        source.read(0, 1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="a/1: no longer a file"):
        list(source.stream())


def test_permission_denied(tmp_path, monkeypatch):
    source = open_documents(put_folder(tmp_path, CORPUS))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root, who may run this, may read all
    with pytest.raises(InputError, match=r"Alt/ü: cannot be read \(Permission denied\)"):
        source.read(0, 1)
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        open_documents(tmp_path)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 8), (2, 1), (8, 8)])
def test_range_outside(tmp_path, start, stop):
    source = open_documents(put_folder(tmp_path, CORPUS))
    with pytest.raises(InputError, match=f"documents {start} to {stop} asked for.* 0 to 7"):
        source.read(start, stop)


# --- archives ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compression", [None, *PACKERS])
def test_archive(tmp_path, compression, form):
    data = pack(tar_of(under("corpus", CORPUS), form=form), compression)
    source = open_documents(put(tmp_path / "a.txt", data))  # the suffix lies
    assert isinstance(source, ArchiveDocuments)
    assert isinstance(source, Documents)
    assert (source.labelled, source.seekable, source.sorted) == (True, False, False)
    assert source.n_documents == len(CORPUS)
    assert source.files() == [str(tmp_path / "a.txt")]
    documents = list(source.stream())
    assert documents == as_documents(CORPUS)  # in the archive's order
    assert [document.name for document in by_name(documents)] == IN_ORDER


@pytest.mark.parametrize("arcname", ["corpus", ".", "./corpus"])
def test_archive_of_a_folder_is_the_folder(tmp_path, arcname):
    put_folder(tmp_path / "corpus", {**CORPUS, "README": "beside", "x" * 60 + "/" + "y" * 150: "z"})
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as made:
        made.add(tmp_path / "corpus", arcname=arcname)
    ours, theirs = open_documents(tmp_path / "a.tgz"), open_documents(tmp_path / "corpus")
    assert by_name(ours.stream()) == list(theirs.stream())
    facts = ("n_documents", "n_ignored", "encoding", "decode_error", "subfolder")
    assert [ours.header()[key] for key in facts] == [theirs.header()[key] for key in facts]


short_names = st.text(st.sampled_from("ab-.0 é"), min_size=1, max_size=4).filter(
    lambda name: name not in (".", "..")
)


contents = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=600)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.dictionaries(
        st.tuples(short_names, short_names).map("/".join), contents, min_size=1, max_size=8
    ),
    compression=st.sampled_from([None, *PACKERS]),
)
def test_any_archive_is_its_folder(tmp_path_factory, files, compression):
    folder = tmp_path_factory.mktemp("folder")
    put_folder(folder / "corpus", files)
    put(folder / "a", pack(tar_of(under("corpus", files)), compression))
    documents = consume(folder / "a")
    assert documents == as_documents(files)
    assert by_name(documents) == consume(folder / "corpus")


@pytest.mark.parametrize("prefix", ["", "corpus"])
def test_archive_of_files_alone_has_no_labels(tmp_path, prefix):
    files = {"b": "two", "a": "one"}
    data = tar_of(under(prefix, files) if prefix else files)
    source = open_documents(put(tmp_path / "a", data))
    assert source.labelled is False
    assert list(source.stream()) == as_documents(files, labelled=False)


@pytest.mark.parametrize(
    ("files", "document_names", "n_ignored"),
    [
        (["a/1", "b/1"], ["a/1", "b/1"], 0),
        (["README", "a/1"], ["a/1"], 1),
        (["top/a/1"], ["a/1"], 0),
        (["top/README", "top/a/1", "top/b/1"], ["a/1", "b/1"], 1),
        (["README", "top/a/1", "top/b/1"], ["a/1", "b/1"], 1),
        (["./top//a/./1"], ["a/1"], 0),
    ],
)
def test_layouts(tmp_path, files, document_names, n_ignored):
    source = open_documents(put(tmp_path / "a", tar_of(dict.fromkeys(files, "text"))))
    assert [document.name for document in source.stream()] == document_names
    assert source.labelled
    assert source.header()["n_ignored"] == n_ignored
    assert source.header()["n_documents"] == len(document_names)


@pytest.mark.parametrize("top", ["", "news/"])
def test_several_folders_of_categories(tmp_path, top):
    files = {f"{top}train/sci/1": "one", f"{top}test/sci/2": "two", f"{top}README": "x"}
    path = put(tmp_path / "a.tar", tar_of(files))
    message = f"a.tar: {top}train/sci/1 is deeper than category/document; .* --subfolder: "
    with pytest.raises(InputError, match=message + f"{top}test, {top}train$"):
        open_documents(path)
    assert consume(path, subfolder=f"{top}train") == [Document("sci/1", "sci", "one")]
    assert consume(path, subfolder=f"{top}test/") == [Document("sci/2", "sci", "two")]


def test_members_too_deep(tmp_path):
    path = put(tmp_path / "a.tar", tar_of({"a/1": "", "b/2": "", "b/c/3": ""}))
    with pytest.raises(InputError, match="b/c/3 is deeper than category/document"):
        open_documents(path)
    path = put(tmp_path / "a.tar", tar_of({"x/y/b/c/3": ""}))
    with pytest.raises(InputError, match=r"x/y/b/c/3 is deeper than .* --subfolder: x/y$"):
        open_documents(path)
    with pytest.raises(InputError, match=r"x/y/b/c/3 is deeper than .* --subfolder: x/y/b$"):
        open_documents(path, subfolder="x/y")


def test_subfolder_not_in_the_archive(tmp_path):
    path = put(tmp_path / "a.tar", tar_of({f"c{n:02}/1": "" for n in range(20)}))
    message = r"a.tar: no files in the folder 'gone' of the archive; it has c00, .*, and 10 more"
    with pytest.raises(InputError, match=message):
        open_documents(path, subfolder="gone")
    path = put(tmp_path / "a.tar", tar_of({"1": ""}))
    with pytest.raises(InputError, match="it has no folders"):
        open_documents(path, subfolder="gone")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_archive_without_files(tmp_path, compression):
    for members in ([], [member("a", kind=tarfile.DIRTYPE)]):
        path = put(tmp_path / "a", pack(tar_bytes(members), compression))
        with pytest.raises(InputError, match="a: an archive without any file"):
            open_documents(path)


OUT = r"leads out of the archive"
FORBIDDEN = [
    (member("/a/1"), r"/a/1: " + OUT),
    (member("//a/1"), r"//a/1: " + OUT),
    (member("../a/1"), r"\.\./a/1: " + OUT),
    (member("a/../../1"), r"a/\.\./\.\./1: " + OUT),
    (member("a/..", kind=tarfile.DIRTYPE), r"a/\.\.: " + OUT),
    (member("/a", kind=tarfile.DIRTYPE), r"/a: " + OUT),
    (member("a/1", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), "a/1: a symbolic link; only"),
    (member("a/1", kind=tarfile.SYMTYPE, linkname="0"), "a/1: a symbolic link; only"),
    (member("a/1", kind=tarfile.LNKTYPE, linkname="a/0"), "a/1: a hard link; only"),
    (member("a/1", kind=tarfile.CHRTYPE), "a/1: a device; only"),
    (member("a/1", kind=tarfile.BLKTYPE), "a/1: a device; only"),
    (member("a/1", kind=tarfile.FIFOTYPE), "a/1: a pipe; only"),
    (member("a/1", kind=b"V"), "a/1: of unknown type b'V'; only"),
    (member("a/\x1b[2J\n", kind=tarfile.FIFOTYPE), r"'a/\\x1b\[2J\\n': a pipe; only"),
    (member("a/\udcff"), r"'a/\\udcff': the name is not UTF-8"),
    (member("."), r"\.: damaged header"),
    (member("a/0"), "two members are called a/0"),
    (member("./a//0"), "two members are called a/0"),
    (member("a/1", pax_headers={"size": "-5"}), "a/1: damaged header"),
    (
        member("a/1", b"0\n", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        "is a sparse file",
    ),
    (member("a/1", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}), "sparse file"),
    (member("a/1", bytes(512), kind=tarfile.GNUTYPE_SPARSE), "is a sparse file"),
    (member("a/1", b"x" * (300 << 10), kind=tarfile.XHDTYPE), "a header of 307200 bytes; 262144"),
]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("bad", "message"), FORBIDDEN)
def test_forbidden_members(tmp_path, bad, message, place):
    members = [member("a/0", b"first"), member("b/1", b"last")]
    members.insert(place, bad)
    path = put(tmp_path / "a.tgz", gzip.compress(tar_bytes(members)))
    with pytest.raises(InputError, match=r"a\.tgz: .*?" + message):
        open_documents(path)


def test_forbidden_member_that_came_after_opening(tmp_path):
    path = put(tmp_path / "a.tar", tar_of({"a/0": "first", "b/1": ""}))
    source = open_documents(path)
    link = member("b/1", kind=tarfile.SYMTYPE, linkname="/etc/passwd")
    put(path, tar_bytes([member("a/0", b"first"), link]))
    documents = source.stream()
    assert next(documents).text == "first"
    with pytest.raises(InputError, match="b/1: a symbolic link"):
        next(documents)


def test_archive_changes_after_opening(tmp_path):
    path = put(tmp_path / "a.tar", tar_of({"a/0": "", "b/1": ""}))
    source = open_documents(path)
    put(path, tar_of({"a/0": "", "b/2": ""}))
    with pytest.raises(InputError, match=r"a\.tar: other files in it than when it was opened"):
        list(source.stream())
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tar: cannot be read \(No such file"):
        list(source.stream())


def test_sparse_map_without_an_end(tmp_path):
    info, _ = member("a/1", kind=tarfile.GNUTYPE_SPARSE)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # is extended
    put(tmp_path / "a", checked(header) + b"\1" * 5120)
    with pytest.raises(InputError, match=r"a: damaged .*a/1 is a sparse file"):
        open_documents(tmp_path / "a")


def checked(header):
    """A header with the checksum of what it is now."""
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def test_headers_upon_headers(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    one = header.tobuf(tarfile.GNU_FORMAT) + b"a\0" + bytes(510)
    put(tmp_path / "a", one * 5000 + tar_of({"a/1": ""}))
    with pytest.raises(InputError, match=r"a: damaged or cut short .*recursion"):
        open_documents(tmp_path / "a")


@pytest.mark.parametrize("size", [10**9, 2**62])
def test_declares_more_than_there_is(tmp_path, size):
    info, _ = member("a/1")
    info.size = size
    put(tmp_path / "a", info.tobuf(tarfile.GNU_FORMAT) + bytes(20_000))
    with pytest.raises(InputError, match=r"a: damaged or cut short .it ends before the archive"):
        open_documents(tmp_path / "a")


def test_bytes_after_the_archive(tmp_path):
    data = tar_of(CORPUS)
    assert consume(put(tmp_path / "a", data + bytes(200_000))) == as_documents(CORPUS)
    for rest in (data, b"x", bytes(200_000) + b"x"):
        with pytest.raises(InputError, match="a: more bytes after the end of the archive"):
            open_documents(put(tmp_path / "a", data + rest))


def test_packed_in_several_pieces(tmp_path):
    data = tar_of({"a/1": "one" * 5000, "b/2": "two" * 5000})
    for compression in ("gzip", "bzip2", "xz"):
        pieces = [pack(data[at : at + 9000], compression) for at in range(0, len(data), 9000)]
        texts = [document.text for document in consume(put(tmp_path / "a", b"".join(pieces)))]
        assert texts == ["one" * 5000, "two" * 5000]


@pytest.mark.parametrize("compression", [None, *PACKERS])
def test_cut_short(tmp_path, compression):
    files = {f"{label}/{n}": label * 300 * n for label in "ab" for n in range(3)}
    whole = pack(tar_of(files), compression)
    put(tmp_path / "whole", whole)
    opened = open_documents(tmp_path / "whole")
    blocks = sum(1 + -(-len(content) // 512) for content in files.values())
    for length in range(0, len(whole), max(1, len(whole) // 300)):
        path = put(tmp_path / "whole", whole[:length])
        for read in (lambda path=path: consume(path), lambda: list(opened.stream())):
            # One block of zeros ends an archive; what follows is padding.
            if compression is None and length >= (blocks + 1) * 512:
                assert read() == as_documents(files)
            else:
                with pytest.raises(InputError, match="whole: "):
                    read()


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_damaged_header_is_not_the_end(tmp_path, compression):
    files = {f"a/{n}": "text" for n in range(4)}
    whole = tar_of(files)
    for place in range(4):
        damaged = bytearray(whole)
        damaged[place * 1024 + 3] ^= 1
        path = put(tmp_path / "a", pack(bytes(damaged), compression))
        with pytest.raises(InputError, match=r"a: damaged or cut short .*checksum"):
            open_documents(path)


@given(at=st.integers(0), flip=st.integers(1, 255), compression=st.sampled_from([None, *PACKERS]))
def test_a_damaged_byte_is_refused_or_harmless(scratch, at, flip, compression):
    files = {f"{n}/a": f"text {n}" for n in range(3)}
    whole = bytearray(pack(tar_of(files), compression))
    whole[at % len(whole)] ^= flip
    put(scratch, bytes(whole))
    with contextlib.suppress(InputError):
        got = consume(scratch)
        # A tar has no checksum of its contents, and the old lzma has none at all.
        if compression in ("gzip", "bzip2", "xz"):
            assert got == as_documents(files)


@settings(max_examples=100)
@given(data=st.data())
def test_random_headers(scratch, data):
    """Bytes of the header at will, under a checksum that is right."""
    header = bytearray(member("a/1", b"x")[0].tobuf(tarfile.GNU_FORMAT))
    fields = st.sampled_from([0, 2, 100, 124, 135, 156, 157, 257, 263, 345, 386, 482, 483])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(fields)
        new = data.draw(st.binary(min_size=1, max_size=12))
        header[start : start + len(new)] = new
    if data.draw(st.booleans()):
        header[156:157] = data.draw(st.sampled_from([b"L", b"K", b"x", b"g", b"X", b"S", b"5"]))
    body = data.draw(st.binary(max_size=512)).ljust(512, b"\0")
    put(scratch, checked(header) + body + tar_of({"b/1": "text"}))
    with contextlib.suppress(InputError):
        consume(scratch)


def test_archive_holds_one_document(tmp_path):
    size, count = 1 << 20, 24
    data = tar_of({f"a/{n}": b"x" * size for n in range(count)})
    for compression in (None, "gzip", "bzip2"):
        put(tmp_path / "a", pack(data, compression))
        tracemalloc.start()
        source = open_documents(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < size
        tracemalloc.reset_peak()
        assert sum(len(document.text) for document in source.stream()) == size * count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 7 * size


def test_stream_keeps_no_headers(tmp_path):
    source = open_documents(put(tmp_path / "a", tar_of({f"a/{n}": "" for n in range(4000)})))
    stream, held = source.stream(), []
    for i, _ in enumerate(stream):
        if i % 1000 == 999:
            held.append(sum(type(one) is tarfile.TarInfo for one in gc.get_objects()))
    assert len(held) == 4
    assert max(held) < 100


# --- JSON lines ----------------------------------------------------------------------------

LINES = (
    b'{"text": "one", "label": "a"}\n'
    b"\n"
    b'  {"label": 12, "text": "two \\u00e9 \\ud83d\\ude00"}\r\n'
    b" \t\r\n"
    b'{"text": "", "label": null, "other": [1, {}]}\n'
    b'{"text": "gr\xc3\xbc\xc3\x9fe"}'
)
READ = [
    Document("1", "a", "one"),
    Document("3", "12", "two é \U0001f600"),
    Document("5", None, ""),
    Document("6", None, "grüße"),
]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n\n"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_json_lines(tmp_path, compression, start, end):
    source = open_documents(put(tmp_path / "a.tar", pack(start + LINES + end, compression)))
    assert isinstance(source, JsonLines)
    assert isinstance(source, Documents)
    assert not isinstance(source, SeekableDocuments)
    assert (source.labelled, source.seekable, source.sorted) == (None, False, True)
    assert source.files() == [str(tmp_path / "a.tar")]
    assert list(source.stream()) == READ
    assert list(source.stream()) == READ


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_lines_across_pieces(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(jsonlines, "PIECE", piece)
    assert consume(put(tmp_path / "a", LINES)) == READ


def test_other_fields(tmp_path):
    path = put(tmp_path / "a", b'{"text": 3, "body": "x", "class": "y", "label": true}')
    got = consume(path, text_field="body", label_field="class")
    assert got == [Document("1", "y", "x")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not JSON", "not JSON .Expecting value at column 1.; one object a line is needed"),
        (b'{"text": "x"', r"not JSON \(Expecting ',' delimiter at column"),
        (b'{"text": "x"} {"text": "y"}', r"not JSON \(Extra data at column 15\)"),
        (b'{"text": "\0"}', r"not JSON \(Invalid control character"),
        (b"[" * 100_000, r"JSON that cannot be read \(.*recursion"),
        (b'{"text": "x", "n": ' + b"1" * 5000 + b"}", r"JSON that cannot be read \(Exceeds"),
        (b'["text", "x"]', "an array, not an object; write {...}, one a line"),
        (b'"text"', "a string, not an object"),
        (b"3.5", "a number, not an object"),
        (b"null", "null, not an object"),
        (b"true", "a boolean, not an object"),
        (b"{}", "no field 'text'; it has none: name the one with the text with --text-field"),
        (b'{"body": "x", "a\\nb": 3}', r"no field 'text'; it has body, 'a\\nb': name"),
        (b'{"text": 3}', "field 'text' is a number, not a string"),
        (b'{"text": null}', "field 'text' is null, not a string"),
        (b'{"text": ["x"]}', "field 'text' is an array, not a string"),
        (b'{"text": "x", "label": true}', "the label is a boolean; it must be a string, an inte"),
        (b'{"text": "x", "label": 1.0}', "the label is a number; it must be"),
        (b'{"text": "x", "label": NaN}', "the label is a number; it must be"),
        (b'{"text": "x", "label": ["a"]}', "the label is an array; it must be"),
        (b'{"text": "x", "label": {}}', "the label is an object; it must be .* --label-field"),
        (b'{"text": "x", "label": "\\ud800"}', r"label '\\ud800': the name is not UTF-8"),
        (b'{"text": "ab\\ud800"}', r"half a character \(.ud800\) at character 2"),
        (b'{"text": "\xff"}', r"byte \d+ is not utf-8 \(invalid start byte\); declare the enc"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    good = b'{"text": "good"}\n'
    documents = open_documents(put(tmp_path / "a.jsonl", good + b"\n" + line + b"\n" + good))
    with pytest.raises(InputError, match=r"a\.jsonl: line 3: " + message):
        list(documents.stream())


def test_half_characters(tmp_path):
    path = put(tmp_path / "a", b'{"text": "a\\ud800b\\udc00 \\ud83d\\ude00"}')
    assert consume(path, decode_error="replace")[0].text == "a\ufffdb\ufffd \U0001f600"
    assert consume(path, decode_error="ignore")[0].text == "ab \U0001f600"


def test_good_lines_before_a_bad_one(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonlines, "PIECE", 16)
    documents = open_documents(put(tmp_path / "a", b'{"text": "good"}\n' * 9 + b"{\n")).stream()
    for number in range(1, 10):
        assert next(documents) == Document(str(number), None, "good")
    with pytest.raises(InputError, match="line 10: not JSON"):
        next(documents)


def test_longest_line(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonlines, "LONGEST_LINE", 1000)
    line = json.dumps({"text": "x" * 988}).encode()
    assert len(line) == 1000
    for piece in (1 << 16, 300, 1):
        monkeypatch.setattr(jsonlines, "PIECE", piece)
        for end in (b"", b"\n", b"\n" + line):
            assert len(consume(put(tmp_path / "a", line + end))) == 1 + (len(end) > 1)
            with pytest.raises(InputError, match="a: line 1 has more than 1000 characters"):
                consume(put(tmp_path / "a", line + b" " + end))


@pytest.mark.slow
def test_a_line_longer_than_64_mib(tmp_path):
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"text": "')
        for _ in range(65):
            file.write(b"x" * (1 << 20))
        file.write(b'"}')
    with pytest.raises(InputError, match="line 1 has more than 67108864 characters"):
        consume(path)


@pytest.mark.parametrize("data", [b"\n", b" \n\t\r\n\n", b" " * 40_000, b"\xef\xbb\xbf\n"])
def test_no_documents_in_json_lines(tmp_path, data):
    documents = open_documents(put(tmp_path / "a", data)).stream()
    with pytest.raises(InputError, match="a: no documents in it; give a folder of documents"):
        next(documents)


def test_cut_short_json_lines(tmp_path):
    whole = gzip.compress(LINES)
    path = put(tmp_path / "a", whole)
    opened = open_documents(path)
    for length in range(len(whole)):
        put(path, whole[:length])
        for read in (lambda: consume(path), lambda: list(opened.stream())):
            with pytest.raises(InputError, match="a: "):
                read()


def test_json_lines_have_no_subfolder(tmp_path):
    with pytest.raises(InputError, match="JSON lines have no folder 'x'; leave out --subfolder"):
        open_documents(put(tmp_path / "a", LINES), subfolder="x")


def test_json_lines_hold_one_line(tmp_path):
    line = json.dumps({"text": "x" * (1 << 18)}) + "\n"
    source = open_documents(put(tmp_path / "a", gzip.compress(line.encode() * 100)))
    tracemalloc.start()
    assert sum(len(document.text) for document in source.stream()) == 100 << 18
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
json_lines = st.one_of(
    st.binary(max_size=30),
    st.fixed_dictionaries({"text": st.text()}, optional={"label": json_values}).map(
        lambda fields: json.dumps(fields).encode()
    ),
    json_values.map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=100)
@given(
    lines=st.lists(json_lines, max_size=4),
    compress=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1", "shift_jis"]),
    decode_error=st.sampled_from(["strict", "ignore", "replace"]),
)
def test_random_lines(scratch, lines, compress, encoding, decode_error):
    data = b'{"text": "x"}\n' + b"\n".join(lines)
    put(scratch, gzip.compress(data) if compress else data)
    with contextlib.suppress(InputError):
        got = consume(scratch, encoding=encoding, decode_error=decode_error)
        assert got
        for document in got:
            document.text.encode()  # no half of a character


@given(
    records=st.lists(
        st.fixed_dictionaries(
            {"text": st.text()}, optional={"label": st.none() | st.text() | st.integers()}
        ),
        min_size=1,
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-7"]),
    ascii_only=st.booleans(),
)
def test_json_lines_are_the_identity(scratch, records, encoding, ascii_only):
    data = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
    got = consume(put(scratch, data.encode(encoding)), encoding=encoding)
    assert [document.text for document in got] == [record["text"] for record in records]
    labels = [record.get("label") for record in records]
    assert [document.label for document in got] == [
        None if label is None else str(label) for label in labels
    ]


# --- decoding ------------------------------------------------------------------------------


def holders(folder, data):
    """The same document in a folder and in an archive, and how errors name it."""
    put_folder(folder / "c", {"a/1": data})
    put(folder / "t.tgz", gzip.compress(tar_of({"c/a/1": data})))
    return [(folder / "c", r"c/a/1: "), (folder / "t.tgz", r"t\.tgz: c/a/1: ")]


def test_encodings(tmp_path):
    for path, name in holders(tmp_path, b"caf\xe9 \xa4"):
        message = name + r"byte 3 is not utf-8 \(invalid continuation byte\); declare the encoding "
        with pytest.raises(InputError, match=message + "with --encoding, or use --decode-error re"):
            consume(path)
        assert consume(path, encoding="latin-1")[0].text == "café ¤"
        assert consume(path, encoding="iso8859-15")[0].text == "café €"
        assert consume(path, decode_error="replace")[0].text == "caf\ufffd \ufffd"
        assert consume(path, decode_error="ignore")[0].text == "caf "


def test_wide_encodings(tmp_path):
    for encoding in ("utf-16", "utf-16-le", "UTF_32", "utf32"):
        for path, name in holders(tmp_path, "größer".encode(encoding)):
            assert consume(path, encoding=encoding)[0].text == "größer"
            with pytest.raises(InputError, match=name + r"a NUL byte at offset \d, so it is bin"):
                consume(path, encoding="latin-1")


def test_binary_documents(tmp_path):
    for path, name in holders(tmp_path, b"abc\0\xff"):
        for decode_error in ("strict", "ignore", "replace"):
            with pytest.raises(InputError, match=name + "a NUL byte at offset 3"):
                consume(path, decode_error=decode_error)


def test_largest_document(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_DOCUMENT", 1000)
    for path, _ in holders(tmp_path, b"x" * 1000):
        assert len(consume(path)[0].text) == 1000
    for path, name in holders(tmp_path, b"x" * 1001):
        with pytest.raises(InputError, match=name + "1001 bytes, but a document may have at most"):
            consume(path)


def test_a_document_larger_than_256_mib(tmp_path):
    put_folder(tmp_path, {"a/1": b""})
    os.truncate(tmp_path / "a/1", (256 << 20) + 1)
    with pytest.raises(InputError, match="a/1: 268435457 bytes, but a document may have at most"):
        consume(tmp_path)


@pytest.mark.parametrize("encoding", ["klingon", "hex", "rot13", "undefined", "a\0b", "", "\udcff"])
def test_encodings_that_are_none(tmp_path, encoding):
    with pytest.raises(InputError, match="is no text encoding Python knows"):
        open_documents(put_folder(tmp_path, CORPUS), encoding=encoding)


def test_decode_error_that_is_none(tmp_path):
    with pytest.raises(InputError, match="decode_error 'xml' is none of strict, ignore, replace"):
        open_documents(put_folder(tmp_path, CORPUS), decode_error="xml")


def test_utf16_without_a_mark(tmp_path):
    path = put(tmp_path / "a", LINES.decode().encode("utf-16-le"))
    with pytest.raises(InputError, match=r"a: line 1: byte .* is not utf-16 .*BOM"):
        consume(path, encoding="utf-16")


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "shift_jis", "gb18030", "euc_kr", "ascii"]


@settings(max_examples=100)
@given(
    start=st.text("aé漢\n", max_size=12),
    bad=st.sampled_from([b"\xff", b"\xff\xff", b"\x00\xd8\x41\x00", b"\xc3(", b"\x81\xff"]),
    end=st.text("ab\n", max_size=4),
    encoding=st.sampled_from(ENCODINGS),
    piece=st.integers(1, 9),
)
def test_offsets_of_bad_bytes(scratch, start, bad, end, encoding, piece):
    """Piece by piece, the byte and line are those of the whole read at once."""
    line = '{"text": "x"}\n' + start
    good = line.encode(encoding, "ignore")
    put(scratch, good + bad + end.encode(encoding, "ignore"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonlines, "PIECE", piece)
        decoding = jsonlines.Decoding(encoding, "strict")
        try:
            scratch.read_bytes().decode(encoding)
        except UnicodeDecodeError as fault:
            mark = 3 if encoding == "utf-8-sig" else 0
            at = fault.start + mark
            number = scratch.read_bytes()[:at].decode(encoding).count("\n") + 1
        else:
            assume(False)
        with (
            pytest.raises(InputError, match=f"file: line {number}: byte {at} is not {encoding} "),
            scratch.open("rb") as stream,
        ):
            list(jsonlines._decoded(str(scratch), stream, decoding))


# --- what is asked of any corpus -----------------------------------------------------------


def every_kind(tmp_path):
    yield open_documents(put_folder(tmp_path / "folder", CORPUS))
    yield open_documents(put(tmp_path / "a.tgz", gzip.compress(tar_of(CORPUS))))
    yield open_documents(put(tmp_path / "a.jsonl", LINES))


def test_sources_are_frozen_and_picklable(tmp_path):
    for source in every_kind(tmp_path):
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        assert hash(copy) == hash(source)
        assert list(copy.stream()) == list(source.stream())
        with pytest.raises(AttributeError):
            source.path = "other"


def test_several_streams_at_once(tmp_path):
    for source in every_kind(tmp_path):
        whole = list(source.stream())
        assert list(zip(source.stream(), source.stream(), strict=True)) == [(d, d) for d in whole]


def test_a_stream_may_be_left(tmp_path):
    for source in every_kind(tmp_path):
        documents = source.stream()
        next(documents)
        del documents


def test_headers_are_json(tmp_path):
    folder, packed, lines = (json.loads(json.dumps(s.header())) for s in every_kind(tmp_path))
    decoding = {"encoding": "utf-8", "decode_error": "strict"}
    assert len(folder.pop("names_sha256")) == len(packed.pop("names_sha256")) == 64
    listed = {**decoding, "subfolder": None, "n_documents": 7, "n_ignored": 0}
    assert folder == {"format": "folder", "compression": None, **listed}
    assert packed == {"format": "tar", "compression": "gzip", **listed}
    assert lines == {
        "format": "jsonl",
        "compression": None,
        **decoding,
        "text_field": "text",
        "label_field": "label",
        "n_documents": None,
    }


SUPPORTED = "; give a folder of documents in category/document, a tar archive of one .*JSON lines"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x00\x08\x01\x00\x00\x00\x01\x05", "begins with the bytes 00 00 08 01" + SUPPORTED),
        (b"\x89PNG\r\n\x1a\n", "begins with the bytes 89 50 4e 47" + SUPPORTED),
        (b"PK\x03\x04rest", "begins with the bytes 50 4b 03 04" + SUPPORTED),
        (b"plain text", "begins with the bytes 70 6c 61 69" + SUPPORTED),
        (b' [{"text": "x"}]', "begins with .*, a JSON array, of which jq .* makes JSON lines"),
        (b"\xef\xbb\xbf\r\n <html>", "looks like a web page: the download probably failed"),
        (b"\xff\xff\xff", "begins with the bytes ff ff ff" + SUPPORTED),
    ],
)
def test_other_files(tmp_path, data, message):
    with pytest.raises(InputError, match="some-file: " + message):
        open_documents(put(tmp_path / "some-file", data))
    with pytest.raises(InputError, match="some-file: a gzip of something that " + message):
        open_documents(put(tmp_path / "some-file", gzip.compress(data)))


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="gone: no such file"):
        open_documents(tmp_path / "gone")
    with pytest.raises(InputError, match="a: empty file"):
        open_documents(put(tmp_path / "a", b""))
    with pytest.raises(InputError, match="a: a gzip of something that is empty"):
        open_documents(put(tmp_path / "a", gzip.compress(b"")))
    with pytest.raises(InputError, match="not a path"):
        open_documents("a\0b")
    with pytest.raises(InputError, match="must be text, not bytes"):
        open_documents(b"name")
    with pytest.raises(InputError, match="cannot be read"):
        open_documents("x" * 5000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe or device"):
        open_documents(tmp_path / "pipe")


starts = st.sampled_from(
    [b"", b"{", b"\x1f\x8b\x08\x00", b"BZh9", b"\xfd7zXZ\x00", b"]\x00\x00\x80"]
)


@settings(max_examples=100)
@given(start=starts, rest=st.binary(max_size=600))
def test_random_bytes(scratch, start, rest):
    put(scratch, start + rest)
    with contextlib.suppress(InputError):
        consume(scratch)


def test_twenty_newsgroups():
    folder = os.environ.get("TWENTY_NEWSGROUPS_PATH")
    if not folder:
        pytest.skip("TWENTY_NEWSGROUPS_PATH is not set")
    path = Path(folder, "20news-bydate.tar.gz")
    with pytest.raises(InputError, match="--subfolder: 20news-bydate-test, 20news-bydate-train"):
        open_documents(path)
    source = open_documents(path, encoding="latin-1", subfolder="20news-bydate-train")
    labels = [document.label for document in source.stream()]
    assert len(labels) == source.n_documents == 11_314
    assert len(set(labels)) == 20
