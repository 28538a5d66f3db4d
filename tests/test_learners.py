from __future__ import annotations

import torch
from torch import nn

from mplib.attachment import batch_statistics
from mplib.learners import Learner, Settings, frozen_batch_norm
from tests.toys import flat, toy_net, toy_phi, toy_task

CHOSEN = Settings(16, 1e-3, 5e-4, 100.0, 4, seed=0, update_statistics=False, precision="float32")


def learner(number: int, classes: int = 3, settings: Settings = CHOSEN) -> Learner:
    return Learner(number, toy_task(number, classes), "conv4", toy_phi(), settings, torch.device("cpu"), None)


def test_a_learner_depends_on_its_number_and_not_on_who_else_learns() -> None:
    """So that a task learns the same in whichever process it is, beside whichever others."""
    first, second, again = learner(0, 2), learner(1), learner(1)
    for step in range(3):
        for other in (first, second):
            other.start(step, other.train[step], other.valid[step])
    for step in range(3):
        again.start(step, again.train[step], again.valid[step])
    assert torch.equal(second.finish(), again.finish()) and torch.equal(flat(second.network), flat(again.network))


def test_what_it_gives_is_two_losses_two_accuracies_and_a_gradient_for_each_part_of_phi() -> None:
    one = learner(0)
    one.start(0, one.train[0], one.valid[0])
    seen = one.finish()
    assert seen.shape == (4 + 82,) and (seen[4:] != 0).all()


def test_the_phi_step_leaves_running_statistics_alone_unless_asked() -> None:
    net = toy_net(phi=toy_phi())
    images = torch.rand(8, 3, 16, 16)
    before = flat(net)
    with frozen_batch_norm(net), batch_statistics(net):
        net(images)
    assert torch.equal(flat(net), before)
    assert all(module.training for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    with frozen_batch_norm(net), batch_statistics(net, update=True):
        net(images)
    changed = {name for name, value in net.state_dict().items() if "statistics" in name and (value != 0).any()}
    assert changed
