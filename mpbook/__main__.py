"""``python -m mpbook``: see :mod:`mpbook.cli`."""

from __future__ import annotations

import sys

from mpbook.cli import main

if __name__ == "__main__":
    sys.exit(main())
