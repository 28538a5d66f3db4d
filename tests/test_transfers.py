from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mplib import MetaPerturb, MplibError, train
from mplib.transfers import Transfer, judge, prepare, run_transfer
from tests.toys import flat, toy_data, toy_net, toy_phi

SHORT = Transfer("phi", width=4, per_class=4, steps=3, batch_size=8, samples=2)


def test_the_three_parts_of_a_run_are_the_run() -> None:
    result, net, history = run_transfer(SHORT, toy_data(), toy_phi(), device="cpu")
    ready = prepare(SHORT, toy_data(), toy_phi())
    own = train(ready.net, ready.data, **ready.recipe, objective=ready.objective, seed=SHORT.seed, device="cpu")
    assert own.rows == history.rows and judge(SHORT, ready, own) == result
    assert torch.equal(flat(ready.net), flat(net))


def test_what_is_prepared_depends_on_the_seed_and_nothing_else() -> None:
    first, same, other = (prepare(replace(SHORT, seed=seed), toy_data(), toy_phi()) for seed in (0, 0, 1))
    assert torch.equal(flat(first.net), flat(same.net)) and not torch.equal(flat(first.net), flat(other.net))
    assert first.data.fingerprint == same.data.fingerprint != other.data.fingerprint
    assert first.recipe == {"steps": 3, "batch_size": 8}


def test_a_source_gives_its_convolutions() -> None:
    source = toy_net(seed=9)
    ready = prepare(replace(SHORT, method="none"), toy_data(), source=source)
    ours, theirs = ready.net.state_dict(), source.state_dict()
    convolutions = [name for name, value in theirs.items() if value.dim() == 4]
    assert convolutions and all(torch.equal(ours[name], theirs[name]) for name in convolutions)


def test_a_method_that_is_not_there_is_refused() -> None:
    with pytest.raises(MplibError, match="unknown method 'fi'"):
        prepare(replace(SHORT, method="fi"), toy_data())
    with pytest.raises(MplibError, match="no phi was given"):
        prepare(SHORT, toy_data())
    assert isinstance(prepare(SHORT, toy_data(), toy_phi()).net.perturbation.phi, MetaPerturb)  # type: ignore[union-attr]
