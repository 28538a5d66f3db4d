"""What may be typed: the names of methods, networks, data sets and phis, read from the package."""

from __future__ import annotations

from typing import Any

import mplib
from mpbook.generated.markup import code
from mpbook.page import table
from mplib import regularizers
from mplib.data.catalogue import CATALOGUE
from mplib.perturb import pretrained_names


def text() -> str:
    """A section for each kind of name."""
    sections = {
        "methods": ("Methods", _methods(), "Methods of `--methods`, with their settings for `--set METHOD.NAME=VALUE`"),
        "networks": ("Networks", _networks(), "Networks of `--net`, with 100 classes at 32 pixels"),
        "data": (
            "Data sets",
            _data(),
            "Data sets of `--data`; a folder of your own under `$MPLIB_DATA` has its own name",
        ),
        "phis": ("Shipped phis", _phis(), "Phis of `--phi`"),
    }
    return "\n\n".join(
        f"(names-{name})=\n### {title}\n\n{table(rows, caption.replace('`', '')).page}"
        for name, (title, rows, caption) in sections.items()
    )


def _methods() -> list[dict[str, Any]]:
    found = map(regularizers.find, regularizers.names())
    return [
        {
            "method": code(method.name),
            "what it is": method.text,
            "settings": ", ".join(f"{name}={setting.default:g}" for name, setting in method.settings.items()) or None,
        }
        for method in found
    ]


def _networks() -> list[dict[str, Any]]:
    rows = []
    for name in mplib.nets.names():
        net = mplib.nets.build(name, num_classes=100, image_size=32)
        count = sum(parameter.numel() for parameter in net.parameters())
        rows.append({"network": code(name), "parameters": f"{count:,}", "sites": len(mplib.sites(net, 32))})
    return rows


def _data() -> list[dict[str, Any]]:
    return [
        {
            "data set": code(name),
            "what it is": about.title,
            "classes": about.classes,
            "training images": about.train,
            "test images": about.test,
            "how it is had": about.kind,
        }
        for name, about in CATALOGUE.items()
    ]


def _phis() -> list[dict[str, Any]]:
    found = {name: mplib.MetaPerturb.from_pretrained(name).provenance for name in pretrained_names()}
    return [{"phi": code(f"pretrained:{name}"), "what it is": about["source"]} for name, about in found.items()]
