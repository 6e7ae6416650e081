"""`python -m voxtral_edge`, the same as `voxtral-edge`."""

import sys

from voxtral_edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
