"""``python -m mplib``, the same as the command ``mplib``."""

from mplib.cli import main

raise SystemExit(main())
