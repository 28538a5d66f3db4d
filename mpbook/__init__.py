"""The book's tooling: parameters, one execution per chapter, checked outputs, pages.

The chapters import :mod:`mpbook.page` and nothing else from here; ``python -m mpbook`` drives the rest. This
package may import :mod:`mplib`; the method never imports the book.
"""
