"""`python -m digit`: the same as the console script `digit`."""

import sys

from digit.cli import main

if __name__ == "__main__":
    sys.exit(main())
