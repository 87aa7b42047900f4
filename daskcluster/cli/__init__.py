"""The command line: it parses, calls one library function, and prints."""

from daskcluster.cli.main import main

__all__ = ["main"]
