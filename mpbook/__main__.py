"""``python -m mpbook``: see :mod:`mpbook.cli`."""

from __future__ import annotations

if __name__ == "__main__":
    import sys

    # Imported here because the process that runs a chapter imports this file again, and needs nothing of it.
    from mpbook.cli import main

    sys.exit(main())
