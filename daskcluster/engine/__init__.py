"""The only room that knows Dask: it maps a reduction over blocks and merges what comes back.

It knows no clustering. A *reduction* is a value with a pure ``step(batch, state)`` and
``merge(a, b)``; a *reader* is a value that reads rows of one build of a store.
"""

from daskcluster.engine.connect import Certificates, connected, dashboard_link, local_cluster
from daskcluster.engine.progress import JsonLines, Progress, Silent, TextLine
from daskcluster.engine.protocols import Reader, Reduction
from daskcluster.engine.session import Session, parse_bytes, parse_seconds
from daskcluster.engine.stopping import Stop, stoppable
from daskcluster.engine.streaming import stream
from daskcluster.engine.supposed import Workers
from daskcluster.engine.turns import Ask, Asking, alone, in_turns

__all__ = [
    "Ask",
    "Asking",
    "Certificates",
    "JsonLines",
    "Progress",
    "Reader",
    "Reduction",
    "Session",
    "Silent",
    "Stop",
    "TextLine",
    "Workers",
    "alone",
    "connected",
    "dashboard_link",
    "in_turns",
    "local_cluster",
    "parse_bytes",
    "parse_seconds",
    "stoppable",
    "stream",
]
