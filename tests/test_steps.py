from __future__ import annotations

import pytest
import torch

from mplib import MplibError
from mplib.steps import (
    adam,
    copy_of,
    failing_site,
    finite_weights,
    forward_precision,
    load_state,
    on_cpu,
    own_parameters,
    set_rate,
    training_step,
)
from tests.toys import flat, toy_net, toy_phi

IMAGES, LABELS = torch.rand(8, 3, 16, 16), torch.arange(8) % 3


def step(net: torch.nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return training_step(net, optimiser, IMAGES, LABELS)[0]


def test_a_kept_state_is_the_state_of_then() -> None:
    """Loaded after more steps, it gives the same steps again, moments of Adam included."""
    net = toy_net(phi=toy_phi())
    optimiser = adam(own_parameters(net), 1e-2, 5e-4)
    step(net, optimiser, 0)
    kept = copy_of(net, optimiser)
    expected = [step(net, optimiser, seed) for seed in (1, 2)]
    after = flat(net)
    load_state(net, optimiser, kept)
    assert not torch.equal(flat(net), after)
    assert [step(net, optimiser, seed) for seed in (1, 2)] == expected
    assert torch.equal(flat(net), after)


def test_a_state_that_travels_is_the_same_state() -> None:
    net = toy_net()
    optimiser = adam(own_parameters(net), 1e-2, 5e-4)
    step(net, optimiser, 0)
    sent = on_cpu(copy_of(net, optimiser))
    other = toy_net(seed=5)
    load_state(other, adam(own_parameters(other), 1e-2, 5e-4), sent)
    assert torch.equal(flat(other), flat(net)) and sent["moments"].keys() == optimiser.state_dict()["state"].keys()


def test_loading_keeps_the_settings_of_the_optimiser() -> None:
    net = toy_net()
    optimiser = adam(own_parameters(net), 1e-2, 5e-4)
    step(net, optimiser, 0)
    kept = copy_of(net, optimiser)
    set_rate(optimiser, 0.5)
    load_state(net, optimiser, kept)
    assert optimiser.param_groups[0]["lr"] == 0.5


def test_a_rate_in_a_tensor_stays_the_tensor_that_a_captured_step_reads() -> None:
    weight = torch.nn.Parameter(torch.ones(()))
    rate = torch.tensor(0.1)
    optimiser = torch.optim.SGD([weight], lr=rate)
    set_rate(optimiser, 0.25)
    assert optimiser.param_groups[0]["lr"] is rate and rate == 0.25


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_weight_is_found(bad: float) -> None:
    net = toy_net()
    assert finite_weights(net)
    net.blocks[1].conv.weight.data[0, 0, 0, 0] = bad
    assert not finite_weights(net)


def test_the_first_site_that_is_not_finite_is_named() -> None:
    net = toy_net(phi=toy_phi())
    run = lambda: net(IMAGES)  # noqa: E731
    assert failing_site(net, run) == ", first after the last site, 'blocks.3.bn'"
    net.blocks[1].conv.weight.data.fill_(float("nan"))
    assert failing_site(net, run) == ", first in the map that reaches the site 'blocks.1.bn'"
    assert failing_site(toy_net(), run) == ""


def test_bfloat16_is_what_the_forward_pass_runs_in() -> None:
    net = toy_net()
    with forward_precision(torch.device("cpu"), "bfloat16"):
        assert net(IMAGES).dtype == torch.bfloat16
    with forward_precision(torch.device("cpu"), "float32"):
        assert net(IMAGES).dtype == torch.float32
    with pytest.raises(MplibError, match="unknown precision"):
        forward_precision(torch.device("cpu"), "half")
