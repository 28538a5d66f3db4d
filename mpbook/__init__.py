"""The book's tooling: parameters, one execution per chapter, checked outputs, numbers with their rows, pages.

The chapters import :mod:`mpbook.page` (the ledger also those that judge claims) and nothing else
from here; ``python -m mpbook`` drives the rest. This package may import :mod:`mplib`; the method never imports the
book.
"""
