"""The commands that lead to a model again, from what it and its store say of themselves."""

import inspect
import shlex
from typing import Any

from daskcluster.convert import convert_text
from daskcluster.fit import MiniBatchKMeans, SoftKMeans
from daskcluster.store import Store

# Options of `fit`, and what they are where none is given.
_DEFAULTS = {"beta": 1.0, "n_init": "auto", "max_iter": 300, "tol": 1e-4, "algorithm": "auto",
             "metric": "euclidean", "precision": "auto"}  # fmt: skip


def commands(model: Any, path: str, store: Store | None, *, weighted: bool) -> list[str]:
    """A line each: convert where it is known how, then fit; in Python what only Python can do."""
    if model.source_ is None or isinstance(model, MiniBatchKMeans):
        return [f"{_estimator(model)}.fit({'X' if model.source_ is None else repr(model.source_)})"]
    convert = None if store is None else _convert(store)
    return [*([] if convert is None else [shlex.join(convert)]), _fit(model, path, weighted)]


def _estimator(model: Any) -> str:
    """The estimator as Python, with what was drawn for it."""
    given = model.get_params(deep=False) | {"random_state": model.seed_}
    defaults = type(model)().get_params(deep=False)
    if not isinstance(model.init, str):
        given["init"] = "initial centres"
    words = [f"{name}={value!r}" for name, value in given.items() if value != defaults[name]]
    return f"{type(model).__name__}({', '.join(words)})"


def _fit(model: Any, path: str, weighted: bool) -> str:
    words = ["daskcluster", "fit", model.source_, path, "--k", str(len(model.cluster_centers_))]
    words += ["--soft"] if isinstance(model, SoftKMeans) else []
    if not isinstance(model.init, str):
        words += ["--init", "CENTRES.npy"]
    elif model.init != "auto":
        words += ["--init", model.init]
    for name, default in _DEFAULTS.items():
        if (value := getattr(model, name, default)) != default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--standardize"] if model.standardize else []
    words += ["--weights", "WEIGHTS.npy"] if weighted else []
    return shlex.join([*words, "--seed", str(model.seed_)])


def _convert(store: Store) -> list[str] | None:
    """None where the store does not say all that it was made by."""
    names = [str(source.get("name")) for source in store.info.sources]
    headers = [source.get("header") for source in store.info.sources]
    kind = headers[0].get("format") if headers and isinstance(headers[0], dict) else None
    if store.info.text is not None and len(names) == 1:
        return ["daskcluster", "convert", "text", names[0], store.path, *_text_options(store)]
    if kind not in ("idx", "npy") or len(names) > 2:
        return None
    labels = ["--labels", names[1]] if len(names) == 2 else []
    return ["daskcluster", "convert", str(kind), names[0], store.path, *labels]


def _text_options(store: Store) -> list[str]:
    assert store.info.text is not None
    source = store.info.text["source"]
    given = store.info.text["options"] | {
        name: source[name] for name in ("encoding", "decode_error", "subfolder") if name in source
    }
    parameters = inspect.signature(convert_text).parameters
    words = [] if store.info.sparse is not None else ["--dense"]
    for name, value in given.items():
        value = tuple(value) if isinstance(value, list) else value
        if name in parameters and value != parameters[name].default:
            words += _option(name.replace("_", "-"), value)
    return words


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    values = value if isinstance(value, tuple) else ["none" if value is None else value]
    return [f"--{name}", *map(str, values)]
