"""``python -m daskcluster``."""

from daskcluster.cli import main

if __name__ == "__main__":
    main()
