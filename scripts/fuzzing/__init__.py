"""Bad input for every reader of files and for the command line; see `scripts/fuzz.py`."""

from fuzzing.files import Archive, Csv, Folder, Idx, Jsonl, Npy, Parquet
from fuzzing.saved import Checkpoints, Models, Predictions, Stores, Sweeps
from fuzzing.target import Target
from fuzzing.words import Arguments

TARGETS: dict[str, Target] = {
    kind.name: kind()
    for kind in (Idx, Npy, Csv, Parquet, Folder, Archive, Jsonl, Stores, Predictions, Models,
                 Checkpoints, Sweeps, Arguments)
}  # fmt: skip
