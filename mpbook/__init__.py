"""The book's tooling: parameters, one execution per chapter, checked outputs, numbers with their rows, pages.

The chapters import :mod:`mpbook.page` (and the ledger :mod:`mpbook.claims` and :mod:`mpbook.verdicts`) and nothing else
from here; ``python -m mpbook`` drives the rest. This package may import :mod:`mplib`; the method never imports the
book.
"""
