"""`python -m mixkd`."""

import sys

from mixkd.cli import main

if __name__ == "__main__":
    sys.exit(main())
