from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mplib import MplibError, load_network
from mplib.experiments import METHODS, Transfer, compare, fingerprint, paired_scores, run_transfer, thinned
from mplib.runs import RunStore
from tests.toys import flat, toy_data, toy_net, toy_phi

SHORT = Transfer("none", width=4, per_class=4, steps=3, batch_size=8, samples=2)


def test_every_method_runs_on_the_same_footing(tmp_path: Path) -> None:
    transfers = [replace(SHORT, method=method, seed=seed) for seed in (0, 1) for method in METHODS]
    rows = compare(transfers, toy_data(), toy_phi(), RunStore(tmp_path), device="cpu")
    assert [row["config"]["method"] for row in rows] == list(METHODS) * 2
    assert len(list(tmp_path.iterdir())) == 2 * len(METHODS)
    for row in rows:
        assert row["result"]["n"] == 48 and len(row["result"]["history"]) == 3
    same = {row["config"]["images"] for row in rows}
    assert len(same) == 1


def test_methods_start_from_the_same_network_and_the_same_images() -> None:
    """With a learning rate of next to nothing, what is left of a run is its start."""
    starts = []
    for method in ("none", "untrained"):
        _, net, _ = run_transfer(replace(SHORT, method=method, steps=1), toy_data(), device="cpu")
        starts.append(torch.cat([p.flatten() for name, p in net.named_parameters() if "perturbation" not in name]))
    assert (starts[0] - starts[1]).abs().max() < 0.01  # one Adam step of 1e-3 apart


def test_processes_side_by_side_make_the_same_rows(tmp_path: Path) -> None:
    transfers = [replace(SHORT, method=method, seed=seed) for seed in (0, 1) for method in ("none", "noise")]
    one, two = (
        compare(transfers, toy_data(), toy_phi(), RunStore(tmp_path / str(jobs)), device="cpu", jobs=jobs)
        for jobs in (1, 2)
    )
    assert [row["config"] for row in one] == [row["config"] for row in two]
    for a, b in zip(one, two, strict=True):
        assert a["result"]["nll"] == pytest.approx(b["result"]["nll"], rel=1e-5)
    with pytest.raises(MplibError, match="jobs is 0"):
        compare(transfers, toy_data(), toy_phi(), RunStore(tmp_path), jobs=0)
    with pytest.raises(MplibError, match="unknown network 'conv5'"):
        broken = [replace(transfer, net="conv5") for transfer in transfers]
        compare(broken, toy_data(), toy_phi(), RunStore(tmp_path / "broken"), device="cpu", jobs=2)


def test_the_noise_control_takes_the_moments_of_the_phi_run(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    compare([replace(SHORT, method="noise")], toy_data(), toy_phi(), store, device="cpu")
    assert sorted(row["config"]["method"] for row in store.rows()) == ["noise", "phi"]


def test_a_stopped_comparison_goes_on_and_networks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mplib import transfers as module

    transfers = [replace(SHORT, method="phi", seed=seed) for seed in range(2)]
    arguments = (transfers, toy_data(), toy_phi())
    expected = compare(*arguments, RunStore(tmp_path / "whole"), device="cpu")

    def stop(net: object, split: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        compare(*arguments, RunStore(tmp_path / "runs"), device="cpu", networks=tmp_path / "networks")
    monkeypatch.undo()
    assert [path.suffix for path in (tmp_path / "networks").iterdir()] == [".checkpoint"]
    rows = compare(*arguments, RunStore(tmp_path / "runs"), device="cpu", networks=tmp_path / "networks")
    assert [row["result"] for row in rows] == [row["result"] for row in expected]
    files = sorted((tmp_path / "networks").iterdir())
    assert [path.suffix for path in files] == [".safetensors"] * 2
    _, provenance = load_network(files[0])
    assert provenance["method"] == "phi"


@pytest.mark.parametrize("checkpoints", [False, True])
def test_seeds_trained_together_give_the_rows_of_one_after_another(tmp_path: Path, checkpoints: bool) -> None:
    transfers = [replace(SHORT, method=m, seed=s) for s in (0, 1) for m in ("noise", "none", "manifold_mixup")]
    arguments = (transfers, toy_data(), toy_phi())
    alone = compare(*arguments, RunStore(tmp_path / "alone"), device="cpu")
    folder = tmp_path / "checkpoints" if checkpoints else None
    store = RunStore(tmp_path / "together")
    together = compare(*arguments, store, device="cpu", together=True, checkpoints=folder)
    assert [(row["key"], row["result"]) for row in together] == [(row["key"], row["result"]) for row in alone]
    assert {row["environment"]["together"] for row in store.rows()} == {2}
    assert len(store.rows()) == 8 and not store.verify()  # the noise is matched to phi, which was run too
    assert folder is None or list(folder.iterdir()) == []


def test_what_was_trained_together_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mplib import experiments

    transfers = [replace(SHORT, method="phi", seed=seed) for seed in (0, 1, 2)]
    arguments = (transfers, toy_data(), toy_phi())
    expected = compare(*arguments, RunStore(tmp_path / "whole"), device="cpu")
    judged = []

    def stop_at_second(*given: object) -> object:
        judged.append(given)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return original(*given)  # type: ignore[arg-type]

    original = experiments.judge
    monkeypatch.setattr(experiments, "judge", stop_at_second)
    store, folder = RunStore(tmp_path / "runs"), tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        compare(*arguments, store, device="cpu", together=True, checkpoints=folder)
    assert len(store.rows()) == 1 and len(list(folder.iterdir())) == 1
    monkeypatch.undo()
    rows = compare(*arguments, store, device="cpu", together=True, checkpoints=folder)
    assert [row["result"] for row in rows] == [row["result"] for row in expected]
    assert [row["environment"].get("resumed", False) for row in rows] == [False, True, True]


def test_where_the_memory_does_not_hold_them_fewer_are_trained_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mplib import experiments

    most = 2

    def small(nets: list[object], *given: object, **options: object) -> object:
        if len(nets) > most:
            raise torch.OutOfMemoryError
        return original(nets, *given, **options)  # type: ignore[arg-type]

    original = experiments.train_together
    monkeypatch.setattr(experiments, "train_together", small)
    transfers = [replace(SHORT, seed=seed) for seed in range(5)]
    rows = compare(transfers, toy_data(), toy_phi(), RunStore(tmp_path), device="cpu", together=True)
    assert [row["environment"]["together"] for row in rows] == [2, 2, 1, 2, 2]
    most = 0
    with pytest.raises(MplibError, match="does not hold a run of conv4"):
        compare(transfers, toy_data(), toy_phi(), RunStore(tmp_path / "none"), device="cpu", together=True)


def test_a_row_is_keyed_by_images_phi_and_source() -> None:
    from mplib.experiments import transfer_config

    config = transfer_config(replace(SHORT, method="noise"), toy_data(), toy_phi(), toy_net())
    assert config["phi"] == fingerprint(toy_phi()) and config["source_network"] == fingerprint(toy_net())
    with pytest.raises(MplibError, match="no phi was given"):
        transfer_config(replace(SHORT, method="noise"), toy_data())


def test_scores_are_paired_by_seed_in_whatever_order_the_rows_are() -> None:
    rows = [
        {"config": {"method": method, "seed": seed}, "result": {"nll": base + seed}}
        for seed in (2, 0, 1)
        for method, base in (("phi", 10.0), ("none", 20.0))
    ]
    assert paired_scores(rows[::-1], "phi", "none", "nll") == ([10, 11, 12], [20, 21, 22])
    with pytest.raises(MplibError, match="expected the same ones"):
        paired_scores(rows[1:], "phi", "none", "nll")
    with pytest.raises(MplibError, match="expected the same ones"):
        paired_scores(rows, "noise", "untrained", "nll")
    with pytest.raises(MplibError, match="two rows of 'phi' with seed 2"):
        paired_scores([*rows, rows[0]], "phi", "none", "nll")


def test_fine_tuning_is_another_run(tmp_path: Path) -> None:
    store, source = RunStore(tmp_path), toy_net(seed=4)
    for start in (None, source):
        compare([SHORT], toy_data(), toy_phi(), store, device="cpu", source=start)
    assert len(store.rows()) == 2


def test_a_fingerprint_stands_for_the_numbers() -> None:
    assert fingerprint(toy_phi(1)) == fingerprint(toy_phi(1)) != fingerprint(toy_phi(2))
    assert torch.equal(flat(toy_phi(1)), flat(toy_phi(1)))


def test_all_methods_of_a_seed_come_before_the_next_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mplib import experiments

    made: list[tuple[int, str]] = []

    def note(transfer: Transfer, *_: object, **__: object) -> object:
        made.append((transfer.seed, transfer.method))
        return original(transfer, *_, **__)  # type: ignore[arg-type]

    original = experiments.run_transfer
    monkeypatch.setattr(experiments, "run_transfer", note)
    transfers = [replace(SHORT, method=method, seed=seed) for method in ("none", "dropout") for seed in (0, 1)]
    rows = compare(transfers, toy_data(), toy_phi(), RunStore(tmp_path), device="cpu")
    assert made == [(0, "none"), (0, "dropout"), (1, "none"), (1, "dropout")]
    assert [row["config"]["method"] for row in rows] == ["none", "none", "dropout", "dropout"]


def test_what_is_not_used_is_not_said(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    plain, wrong = (
        compare([replace(SHORT, label_noise=part)], toy_data(), toy_phi(), store, device="cpu")[0]
        for part in (0.0, 0.5)
    )
    assert not {"options", "label_noise", "tuning", "phi"} & set(plain["config"])
    assert wrong["config"]["label_noise"] == 0.5
    assert plain["result"]["fitted_nll"] != wrong["result"]["fitted_nll"]
    (depth,) = compare([replace(SHORT, method="dropblock")], toy_data(), toy_phi(), store, device="cpu")
    assert depth["config"]["options"] == {"rate": 0.1, "block": 7} and len(depth["result"]["dropped"]) == 4


def test_tuning_is_judged_on_the_training_images_that_were_left_out() -> None:
    result, _, _ = run_transfer(replace(SHORT, tuning=True), toy_data(), device="cpu")
    assert result["n"] == 48 - 12
    with pytest.raises(MplibError, match="expected per_class to leave some out"):
        run_transfer(replace(SHORT, tuning=True, per_class=None), toy_data(), device="cpu")


def test_a_row_keeps_a_short_history() -> None:
    rows = [{"step": k, "loss": float(k), "accuracy": 0.0, "strength": k / 100} for k in range(1, 101)]
    short = thinned(rows, 20)
    assert [row["step"] for row in short] == list(range(5, 101, 5))
    assert short[0] == {"step": 5, "loss": 3.0, "accuracy": 0.0, "strength": 0.05}
    assert len(thinned(rows[:7], 3)) == 3


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(MplibError, match="unknown method 'fi'"):
        run_transfer(replace(SHORT, method="fi"), toy_data(), device="cpu")
    with pytest.raises(MplibError, match="no phi was given"):
        run_transfer(replace(SHORT, method="phi"), toy_data(), device="cpu")
    with pytest.raises(MplibError, match="no moments were given"):
        run_transfer(replace(SHORT, method="noise"), toy_data(), device="cpu")
