"""What MetaPerturb is compared with, behind one protocol: :class:`Method`.

``methods`` is the list; ``dropping``, ``information``, ``mixing``, ``matched`` and ``variants`` are what is on it. A
method of your own is a :class:`Method` that you :func:`register`; then it is run, tuned and drawn like the others.
"""

from mplib.regularizers import methods as methods  # fills the list
from mplib.regularizers.branches import branches
from mplib.regularizers.dropping import DropBlock, Dropout, SpatialDropout, StochasticDepth, dropped_fractions
from mplib.regularizers.information import InformationDropout
from mplib.regularizers.matched import Moments, PlainNoise, SoftplusNoise, matched_noise, site_moments
from mplib.regularizers.mixing import Mixer, cutmix, manifold_mixup, mixup, smoothed
from mplib.regularizers.protocol import Method, Setting, Settings, Start, find, forget, names, register
from mplib.regularizers.variants import Expected, noise_only, scale_only, shuffled

__all__ = [
    "DropBlock",
    "Dropout",
    "Expected",
    "InformationDropout",
    "Method",
    "Mixer",
    "Moments",
    "PlainNoise",
    "Setting",
    "Settings",
    "SoftplusNoise",
    "SpatialDropout",
    "Start",
    "StochasticDepth",
    "branches",
    "cutmix",
    "dropped_fractions",
    "find",
    "forget",
    "manifold_mixup",
    "matched_noise",
    "mixup",
    "names",
    "noise_only",
    "register",
    "scale_only",
    "shuffled",
    "site_moments",
    "smoothed",
]
