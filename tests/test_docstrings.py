"""Every public name says what it takes, gives and raises, and shows it in an example that runs.

numpydoc's own `validate` would do much of this, and brings all of Sphinx with it.
"""

import builtins
import dataclasses
import inspect
import re

import pytest
from sklearn import exceptions

import daskcluster

# In numpydoc's order.
SECTIONS = ["Parameters", "Attributes", "Returns", "Raises", "References", "Examples"]


def public():
    """All public names, and the public methods that this package defines, by name."""
    for name in daskcluster.__all__:
        thing = getattr(daskcluster, name)
        yield name, thing
        if inspect.isclass(thing):
            yield from ((f"{name}.{own}", member) for own, member in own_members(thing).items())


def own_members(cls):
    """Functions and properties that are written in this package, not made by scikit-learn."""
    found = {}
    for base in cls.__mro__:
        if base.__module__.startswith("daskcluster"):
            found = vars(base) | found
    return {
        name: member
        for name, member in found.items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    }


def sections(text):
    """The lines of each section, by its title, in their order."""
    found, lines = {}, text.splitlines()
    title = None
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line and below == "-" * len(line):
            title = line
            found[title] = []
        elif title is not None and line != "-" * len(title):
            found[title].append(line)
    return found


def entries(lines):
    """What a section describes: ``a, b : int`` names a and b."""
    heads = [line.partition(" : ")[0] for line in lines if line and not line.startswith(" ")]
    return [name for head in heads for name in head.split(", ")]


def faults(thing):
    """What a docstring lacks, or says without ground."""
    text = inspect.cleandoc(thing.__doc__ or "")
    if not text:
        return ["no docstring"]
    if isinstance(thing, property):
        return []
    found = sections(text)
    told = []
    if list(found) != [title for title in SECTIONS if title in found]:
        told.append(f"sections {list(found)}")
    if ">>> " not in "\n".join(found.get("Examples", [])):
        told.append("no example")
    told += [f"raises {name}, which is nothing" for name in entries(found.get("Raises", []))
             if not known_error(name)]  # fmt: skip
    return told + faults_of_signature(thing, found)


def faults_of_signature(thing, found):
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return []
    if dataclasses.is_dataclass(thing):  # its options are its attributes, and it may have more
        told = entries([*found.get("Parameters", []), *found.get("Attributes", [])])
        missing = {field.name for field in dataclasses.fields(thing)} - set(told)
        return [f"fields {sorted(missing)} are not described"] if missing else []
    signature = inspect.signature(thing)
    names = [name for name in signature.parameters if name != "self"]
    described = entries(found.get("Parameters", []))
    told = []
    if described != names:
        told.append(f"describes {described}, takes {names}")
    if not inspect.isclass(thing) and ("Returns" in found) != (
        signature.return_annotation is not None
    ):
        told.append("says that it returns something, or does not, and is annotated otherwise")
    return told


def known_error(name):
    places = (daskcluster, builtins, exceptions)
    kinds = [getattr(place, name) for place in places if hasattr(place, name)]
    return any(issubclass(kind, Exception) for kind in kinds)


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*one, id=one[0]) for one in public()])
def test_says_what_it_is(name, thing):
    assert faults(thing) == []


def test_methods_of_ours_are_seen_and_those_of_mixins_are_not():
    names = {name for name, _ in public()}
    assert {"KMeans.fit", "SoftKMeans.predict_proba", "MiniBatchKMeans.partial_fit"} <= names
    assert not {name for name in names if re.search(r"fit_predict|get_params|_request", name)}


def test_faults_are_found():
    def undescribed(a: int) -> int: ...

    def misdescribed(a: int) -> int:
        """Say something.

        Examples
        --------
        None yet.

        Parameters
        ----------
        b : int

        Raises
        ------
        NoSuchError
        """

    assert faults(undescribed) == ["no docstring"]
    assert faults(misdescribed) == [
        "sections ['Examples', 'Parameters', 'Raises']",
        "no example",
        "raises NoSuchError, which is nothing",
        "describes ['b'], takes ['a']",
        "says that it returns something, or does not, and is annotated otherwise",
    ]
