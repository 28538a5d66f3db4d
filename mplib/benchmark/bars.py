"""Is it fast enough? Each bar is a measured number beside the limit that it is held against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from mplib import devices
from mplib.benchmark.memory import extra_copies
from mplib.benchmark.stretches import Run, estimate, meta_training, training_together
from mplib.benchmark.turns import Row, compared, take_turns
from mplib.benchmark.work import Setting, make_step, time_steps

THREADS = 2  # of the bars on a CPU
BUDGET = 7.0


def measure_bars(setting: Setting, budget: float = BUDGET, turns: int = 25) -> list[Row]:
    """Measure every bar that this machine has the device for.

    A bar on the CPU is measured on two threads, whatever the device of the setting. A long run is measured on a
    stretch of it, see :func:`mplib.benchmark.stretches.estimate`.

    Args:
        setting: batch and image size, and the device; the networks are those of the bars.
        budget: minutes, shared out; no measurement takes fewer than 3 turns or 2 stretches, whatever the budget.
        turns: rounds of each comparison at most.

    Returns:
        Rows, each with ``bar``, ``measured``, ``limit``, ``at_most`` (or at least), ``aim`` (beyond the limit, or
        None), ``verdict`` (``"met"``, ``"not met"``, ``"no GPU"``), and ``how`` it was measured.
    """
    place = devices.resolve(setting.device)
    share = 60 * budget / 10  # seconds for a comparison; long runs get two each
    rows = _on_cpu(replace(setting, device="cpu"), turns, share)
    gpu = place.type == "cuda"
    rows.append(_copies(setting))
    rows.append(_eager(setting, turns, share) if gpu else _bar("GPU: perturbed / plain, resnet20, eager", None, 1.25))
    captured = "GPU: perturbed / plain, resnet20, captured"
    rows.append(_captured(captured, setting, share) if gpu else _bar(captured, None, 1.25))
    rows += _long_runs(setting, share) if gpu else _long_runs_without()
    return rows


def _on_cpu(setting: Setting, turns: int, share: float) -> list[Row]:
    rows = []
    with _threads(THREADS):
        for net, limit, aim in (("resnet20", 2.0, 1.5), ("conv4", 2.8, 2.0)):
            row = time_steps(replace(setting, net=net), ["plain", "perturbed"], turns=turns, budget=share)[1]
            name = f"CPU, {THREADS} threads: perturbed / plain, {net}"
            rows.append(_bar(name, row["ratio"], limit, aim, how=_quartiles(row)))
    return rows


def _copies(setting: Setting) -> Row:
    small = replace(setting, net="resnet20")
    plain, perturbed = make_step("plain", small), make_step("perturbed", small)
    copies = extra_copies(plain.loss, perturbed.loss, perturbed.net)
    name = "extra copies of a site's map kept for backward, resnet20"
    return _bar(name, copies, 2.0, how=f"counted, on {devices.resolve(setting.device).type}")


def _eager(setting: Setting, turns: int, share: float) -> Row:
    row = time_steps(replace(setting, net="resnet20"), ["plain", "perturbed"], turns=turns, budget=share)[1]
    return _bar("GPU: perturbed / plain, resnet20, eager", row["ratio"], 1.25, how=_quartiles(row))


def _captured(name: str, setting: Setting, share: float) -> Row:
    net, place = replace(setting, net="resnet20"), devices.resolve(setting.device)
    perturbed, plain = (
        estimate(training_together(net, 1, perturbed), 10_000, place, share)["ms_per_step"]
        for perturbed in (True, False)
    )
    return _bar(name, perturbed / plain, 1.25, how=f"slopes of two runs each, plain {plain:.2f} ms a step")


TASKS = "GPU: 10 tasks x 750 joint steps, resnet20, seconds"
SEEDS = "GPU: 5 seeds x 10,000 target steps together, resnet20, seconds"
STACKED = "GPU: 8 tasks, eager one after another / meta_train"


def _long_runs(setting: Setting, share: float) -> Iterator[Row]:
    net, place = replace(setting, net="resnet20"), devices.resolve(setting.device)
    yield _long(TASKS, meta_training(net, 10), 750, 90.0, place, 2 * share)
    yield _long(SEEDS, training_together(net, 5), 10_000, 180.0, place, 2 * share)
    alone = compared(take_turns({"joint": make_step("meta-training", net)}, place, 25, share))["joint"]
    stacked = estimate(meta_training(net, 8), 750, place, share)["ms_per_step"]
    how = f"8 x {alone['milliseconds']:.1f} ms against {stacked:.1f} ms a joint step"
    yield _bar(STACKED, 8 * alone["milliseconds"] / stacked, 4.0, at_most=False, how=how)


def _long_runs_without() -> list[Row]:
    return [_bar(TASKS, None, 90.0), _bar(SEEDS, None, 180.0), _bar(STACKED, None, 4.0, at_most=False)]


def _long(name: str, run: Run, steps: int, limit: float, place: torch.device, share: float) -> Row:
    row = estimate(run, steps, place, share)
    how = f"extrapolated from {row['measured_steps']} steps" if row["extrapolated"] else "the whole run"
    return _bar(name, row["seconds"], limit, how=f"{how}, {row['ms_per_step']:.2f} ms a step")


def _bar(
    name: str,
    measured: float | None,
    limit: float,
    aim: float | None = None,
    at_most: bool = True,
    how: str = "not measured",
) -> Row:
    verdict = "no GPU"
    if measured is not None:
        verdict = "met" if (measured <= limit if at_most else measured >= limit) else "not met"
    return {
        "bar": name,
        "measured": measured,
        "limit": limit,
        "at_most": at_most,
        "aim": aim,
        "verdict": verdict,
        "how": how,
    }


def _quartiles(row: Row) -> str:
    return f"{row['turns']} turns, quartiles {row['ratio_low']:.2f} to {row['ratio_high']:.2f}"


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
