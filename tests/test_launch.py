"""Threads, processes and forks: the same numbers wherever the kernels run."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator

import pytest
import torch

from mplib import fused
from tests.test_function import draw, frozen_phi

pytestmark = pytest.mark.skipif(not fused.available(), reason="numba is not installed")


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    phi, (x, _, cotangent) = frozen_phi(), draw((7, 6, 16, 16))
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(3)
        z = x.clone().requires_grad_()
        y = phi(z, 0.5, 0.7)
        y.backward(cotangent)
        found.append((y.detach(), z.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_several_python_threads_do_not_disturb_each_other() -> None:
    phi, (x, eps, _) = frozen_phi(), draw((8, 6, 16, 16))
    expected = phi(x, 0.5, 0.7, eps=eps)
    wrong = []

    def loop() -> None:
        wrong.extend(1 for _ in range(20) if not torch.equal(phi(x, 0.5, 0.7, eps=eps), expected))

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong


def total(queue: multiprocessing.Queue) -> None:
    x, eps, _ = draw((8, 6, 16, 16))
    queue.put(float(frozen_phi()(x, 0.5, 0.7, eps=eps).sum()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on() -> None:
    x, eps, _ = draw((8, 6, 16, 16))
    expected = float(frozen_phi()(x, 0.5, 0.7, eps=eps).sum())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=total, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=60) == pytest.approx(expected, rel=1e-5)
    process.join(10)


def test_without_openmp_there_is_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    from mplib.fused.cpu import launch

    phi, (x, eps, _) = frozen_phi(), draw((8, 6, 16, 16))
    expected = phi(x, 0.5, 0.7, eps=eps)
    monkeypatch.setattr(launch, "openmp", lambda: None)
    assert torch.equal(phi(x, 0.5, 0.7, eps=eps), expected)
