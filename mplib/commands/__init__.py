"""The sub-commands of ``mplib``, a file each: its options (``add``), and what it does with them."""
