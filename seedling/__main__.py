"""The command ``seedling`` as ``python -m seedling``."""

import sys

from seedling.cli import main

if __name__ == "__main__":
    sys.exit(main())
