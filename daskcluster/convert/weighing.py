"""Which terms of a corpus are kept, and how they are weighed: by scikit-learn's rules and code."""

import numbers
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer

from daskcluster.convert.parts import Analyzer, Ints
from daskcluster.errors import InputError
from daskcluster.kernels.sparse import SparseRows

TIES = ("scikit-learn", "portable")


@dataclass(frozen=True)
class TextOptions:
    """Options of `TfidfVectorizer` with its names, meanings and defaults; and how ties end."""

    max_features: int | None = None
    min_df: int | float = 1
    max_df: int | float = 1.0
    ngram_range: tuple[int, int] = (1, 1)
    stop_words: str | None = None
    lowercase: bool = True
    token_pattern: str = r"(?u)\b\w\w+\b"
    sublinear_tf: bool = False
    norm: str | None = "l2"
    use_idf: bool = True
    smooth_idf: bool = True
    ties: str = "scikit-learn"

    def __post_init__(self) -> None:
        if self.ties not in TIES:
            raise InputError(f"ties={self.ties!r} should be one of {TIES}")
        try:
            # By scikit-learn's own checks; how many documents there are decides nothing of them.
            self._vectorizer(min_df=1, max_df=1.0).fit(["some words of some document"])
            if self.max_features is not None:
                self._vectorizer(min_df=1, max_df=1.0, max_features=self.max_features)
            _check_share("min_df", self.min_df)
            _check_share("max_df", self.max_df)
        except (ValueError, TypeError, re.error) as error:
            if "empty vocabulary" not in str(error):
                raise InputError(f"text options: {error}") from error

    def _vectorizer(self, **others: Any) -> TfidfVectorizer:
        given = asdict(self) | others
        del given["ties"]
        return TfidfVectorizer(**given | {"ngram_range": tuple(given["ngram_range"])})

    def analyzer(self) -> Analyzer:
        """From a text to its terms."""
        analyze: Analyzer = self._vectorizer().build_analyzer()
        return analyze

    def transformer(self, idf: npt.NDArray[np.float64] | None, n_features: int) -> TfidfTransformer:
        """From counts to weights, given the idf of the corpus, if there is one."""
        names = ("norm", "use_idf", "smooth_idf", "sublinear_tf")
        transformer = TfidfTransformer(**{name: getattr(self, name) for name in names})
        if idf is None:
            return transformer.fit(sparse.csr_array((1, n_features)))
        transformer.idf_ = idf
        return transformer

    def to_json(self) -> dict[str, Any]:
        """For the store's attributes."""
        return asdict(self) | {"ngram_range": list(self.ngram_range)}


def _check_share(name: str, value: Any) -> None:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    least = 0 if name == "min_df" else 1
    if not (whole and value >= least) and not (isinstance(value, float) and 0 <= value <= 1):
        raise InputError(
            f"{name}={value!r} should be a number of documents, or a share of them from 0.0 to 1.0"
        )


def kept_terms(terms: list[str], df: Ints, tf: Ints, n: int, options: TextOptions) -> Ints:
    """Places of the terms that are kept, ascending, as `TfidfVectorizer` chooses them.

    At the cut of ``max_features`` scikit-learn leaves it to NumPy's sort which of equally frequent
    terms stay, and that differs between machines; 'portable' takes the first by alphabet.

    Raises
    ------
    InputError
        None is left.
    """
    low, high = (_documents(share, n) for share in (options.min_df, options.max_df))
    if high < low:
        raise InputError(
            f"max_df={options.max_df} is {high:g} documents and min_df={options.min_df} {low:g}: "
            "lower min_df, or raise max_df"
        )
    kept = np.flatnonzero((df >= low) & (df <= high))
    limit = options.max_features
    if limit is not None and len(kept) > limit:
        # float64, as scikit-learn's counts: the order of ties depends on the type too.
        kind: Any = "stable" if options.ties == "portable" else None
        order = (-tf[kept].astype(np.float64)).argsort(kind=kind)[:limit]
        kept = np.sort(kept[order])
    if not len(kept):
        raise InputError(
            f"none of {len(terms):,} terms is left: lower min_df={options.min_df}, or raise "
            f"max_df={options.max_df}, which {n:,} documents were held against"
        )
    return kept


def _documents(share: Any, n: int) -> Any:
    return share if isinstance(share, numbers.Integral) else share * n


def idf_of(df: Ints, n_documents: int, options: TextOptions) -> npt.NDArray[np.float64] | None:
    """Inverse document frequencies, to the bit as `TfidfTransformer.fit` has them.

    It takes them from a matrix of all documents; here their frequencies are known.
    """
    if not options.use_idf:
        return None
    smooth = int(options.smooth_idf)
    idf = np.full(len(df), n_documents + smooth, dtype=np.float64)
    idf /= df.astype(np.float64) + float(smooth)
    np.log(idf, out=idf)
    idf += 1.0
    return idf


def weigh(counts: SparseRows, transformer: TfidfTransformer) -> SparseRows:
    """Counts to weights, row by row; columns ascend afterwards."""
    if not len(counts.data):
        return counts
    return SparseRows.of(transformer.transform(counts.matrix(), copy=False))
