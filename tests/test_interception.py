"""Maps inside a network that are replaced while it runs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mplib.interception import is_map_addition, replace_output, replace_sums, running_module


def halve(index: int, x: Tensor) -> Tensor:
    return x / 2


class Sums(nn.Module):
    """Calls a function with itself, so that each test can write its forward in a line."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.function = function
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def alias_of_a_sum_in_place(net: nn.Module, x: Tensor) -> Tensor:
    held = x * 1
    alias = held
    held += x
    return alias * 1


def sum_in_place_whose_result_is_ignored(net: nn.Module, x: Tensor) -> Tensor:
    y = x * 1
    y.add_(x, alpha=1)
    return y * 1


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: (x + x) * 1,
        lambda net, x: torch.add(x, x) * 1,
        lambda net, x: torch.add(input=x, other=x) * 1,
        lambda net, x: torch.add(x, other=x / 2, alpha=2) * 1,
        lambda net, x: x.add(x) * 1,
        lambda net, x: sum([x, x]) * 1,
        alias_of_a_sum_in_place,
        sum_in_place_whose_result_is_ignored,
    ],
)
def test_every_way_of_adding(function: Callable[[nn.Module, Tensor], Tensor]) -> None:
    net = Sums(function)
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    attached = replace_sums(net, halve, {0: 0})
    assert torch.allclose(net(x), x)
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    assert torch.allclose(gradient, torch.ones_like(x))
    attached.remove()
    assert torch.allclose(net(x), 2 * x)


def test_only_the_modules_own_additions_count_and_only_the_chosen_are_replaced() -> None:
    seen = []

    def note(index: int, x: Tensor) -> Tensor:
        seen.append((index, x.flatten()[0].item()))
        return x

    inner = Sums(lambda net, x: F.relu(x + 10 * x))
    outer = Sums(
        lambda net, x: torch.cat([x + x, net.inner(x) + x, x + 1, x.flatten(2)[..., None] + 1, x + 5 * x]), inner
    )
    replace_sums(outer, note, {0: 7, 2: 9})
    outer(torch.ones(1, 1, 1, 1))
    outer(torch.ones(1, 1, 1, 1))
    assert seen == [(7, 2.0), (9, 6.0)] * 2  # a number or a new run does not disturb the count


def test_outputs() -> None:
    net = nn.Sequential(nn.Identity(), nn.ReLU())
    attached = replace_output(net[0], halve, 0)
    assert net(torch.ones(2)).tolist() == [0.5, 0.5]
    attached.remove()
    assert net(torch.ones(2)).tolist() == [1, 1]


class Doubler(nn.Module):
    """A module whose bound method replaces, as a perturbation's does, and whose state shows whose method it is."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def replace(self, index: int, x: Tensor) -> Tensor:
        return self.factor * x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.doubler = Doubler()
        self.identity = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.identity(x) + x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(copied: Callable[[Net], Net]) -> None:
    net = Net()
    replace_sums(net, net.doubler.replace, {0: 0})
    replace_output(net.identity, net.doubler.replace, 1)
    twin = copied(net)
    net.doubler.factor = 10.0
    x = torch.ones(1, 1, 1, 1)
    assert (net(x).item(), twin(x).item()) == (10 * (10 + 1), 2 * (2 + 1))


def replacement(x: Tensor) -> Tensor:
    return F.relu(x + x) + 1


def test_a_module_with_a_forward_of_its_own_gets_it_back() -> None:
    net = Net()
    net.forward = replacement
    attached = replace_sums(net, halve, {0: 0})
    assert net(torch.ones(1, 1, 1, 1)).item() == 2
    attached.remove()
    assert net.forward is replacement
    del net.forward
    attached = replace_sums(net, halve, {0: 0})
    attached.remove()
    assert "forward" not in net.__dict__


def test_an_error_inside_a_forward_leaves_no_mode_behind() -> None:
    def fail(index: int, x: Tensor) -> Tensor:
        raise ZeroDivisionError

    depth = torch._C._len_torch_function_stack()
    for replace, forward in ((fail, lambda net, x: x + x), (halve, lambda net, x: x.reshape(7))):
        net = Sums(forward)
        replace_sums(net, replace, {0: 0})
        with pytest.raises((ZeroDivisionError, RuntimeError)):
            net(torch.ones(1, 1, 1, 1))
        assert torch._C._len_torch_function_stack() == depth
    x = torch.ones(2, 4, 2, 2)
    assert torch.equal(x + x, 2 * x)


def test_what_counts_as_an_addition_of_maps() -> None:
    a, b = torch.ones(2, 1, 1, 1), torch.ones(1, 1, 1, 1)
    assert is_map_addition(torch.add, (a, b), {})
    assert is_map_addition(torch.Tensor.add_, (a,), {"other": b})
    assert not is_map_addition(torch.add, (a, 1), {})
    assert not is_map_addition(torch.mul, (a, b), {})
    assert not is_map_addition(torch.add, (a[0], b[0]), {})


def test_the_running_module() -> None:
    seen = []

    def note(net: nn.Module, x: Tensor) -> Tensor:
        seen.append(running_module())
        return x if net.inner is None else net.inner(x)

    inner = Sums(note)
    outer = Sums(note, inner)
    outer(torch.ones(1))
    assert seen == [outer, inner] and running_module() is None
