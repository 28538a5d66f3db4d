"""Where images come from, a module for each form.

- Inside other packages' wheels: ``embedded`` and ``photos``, found and checked by ``wheels``.
- On the disk, as a ``source`` that can be described, decoded and kept:
  ``shards`` (parquet, whole or in ``pieces``) and ``folders`` of image files, which the user brings;
  ``downloads`` by torchvision (``vision`` lets it be imported beside another build of torch);
  ``archives`` of the authors', brought by ``fetching`` and read by ``trees`` without unpacking.
"""
