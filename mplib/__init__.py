"""MetaPerturb: a regulariser of 82 parameters, learned once over many tasks, for any network and any data set.

    >>> import mplib
    >>> data = mplib.data.load("digits", image_size=16)
    >>> net = mplib.nets.build("conv4", num_classes=10, image_size=16, width=8)
    >>> phi = mplib.MetaPerturb.from_pretrained()
    >>> net = mplib.attach(net, phi, image_size=16)
    >>> len(mplib.sites(net)), mplib.set_strength(net, 1.0)
    (4, None)
    >>> history = mplib.train(net, data, steps=20, batch_size=32, device="cpu")
    >>> p = mplib.predict(net, data.test.images[:2], samples=5)
    >>> tuple(p.shape), mplib.evaluate(net, data.test, samples=5).n
    ((2, 10), 797)
    >>> net = mplib.detach(net)

The network may be one of your own, and so may the loop that trains it.

The book around this package explains and checks the method. The names below are the whole public surface; each
module says what its one idea is in its first lines.
"""

from mplib import data as data
from mplib import nets as nets
from mplib.attachment import attach as attach
from mplib.attachment import detach as detach
from mplib.attachment import set_strength as set_strength
from mplib.attachment import sites as sites
from mplib.attacks import AttackMetrics as AttackMetrics
from mplib.attacks import attack as attack
from mplib.errors import MplibError as MplibError
from mplib.evaluation import Metrics as Metrics
from mplib.evaluation import evaluate as evaluate
from mplib.evaluation import predict as predict
from mplib.finetuning import transfer_convolutions as transfer_convolutions
from mplib.history import History as History
from mplib.meta import MetaRun as MetaRun
from mplib.meta import meta_train as meta_train
from mplib.perturb import MetaPerturb as MetaPerturb
from mplib.provenance import version as _version
from mplib.saving import load_network as load_network
from mplib.saving import save_network as save_network
from mplib.training import train as train
from mplib.training import train_together as train_together

__version__ = _version()
