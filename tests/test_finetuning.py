from __future__ import annotations

import pytest
from torch import nn

from mplib import MplibError, train, transfer_convolutions
from tests.toys import toy_data, toy_net


def test_fine_tuning_takes_the_convolutions_and_nothing_else() -> None:
    source, target = toy_net(seed=1), toy_net(seed=2, classes=5)
    train(source, toy_data(), steps=8, batch_size=16, device="cpu")
    before = {name: value.clone() for name, value in target.state_dict().items()}
    copied = transfer_convolutions(source, target)
    for name, value in target.state_dict().items():
        same_as_source = name in source.state_dict() and value.equal(source.state_dict()[name])
        assert same_as_source if name in copied else value.equal(before[name])
    assert copied and all("conv" in name for name in copied)
    with pytest.raises(MplibError, match="expected a network of the same kind"):
        transfer_convolutions(nn.Conv2d(3, 4, 3), target)
    with pytest.raises(MplibError, match="no convolutions"):
        transfer_convolutions(source, nn.Linear(2, 2))
