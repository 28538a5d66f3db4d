"""``mplib meta-train``: learn a phi."""

from __future__ import annotations

import argparse
from typing import Any

from mplib.commands.shared import (
    add_command,
    data_options,
    output_folder,
    record_command,
    show_progress,
    training_options,
    words,
    write_table,
)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    learn = add_command(commands, "meta-train", meta_train, "learn a phi jointly on many tasks cut from one data set")
    data_options(learn, default="photos")
    learn.add_argument("--tasks", type=int, default=8, help="number of tasks, even: mirrored halves (default: 8)")
    learn.add_argument("--classes-per-group", type=int, help="classes in a task (default: all classes shared out)")
    learn.add_argument("--split-seed", type=int, default=0, help="seed of the split into tasks (default: 0)")
    learn.add_argument(
        "--net", type=words, default=["resnet20"], help="network, or one for each task: a,b,c (default: resnet20)"
    )
    learn.add_argument("--seed", type=int, default=0, help="seed of phi, networks, batches and noise (default: 0)")
    learn.add_argument("--checkpoint-every", type=int, default=50, help="steps between checkpoints (default: 50)")
    training_options(learn, steps=750)


def meta_train(given: argparse.Namespace) -> None:
    """``mplib meta-train``: learn a phi."""
    import mplib

    folder = output_folder(given)
    size = given.image_size
    tasks = mplib.data.split_tasks(
        mplib.data.load(given.data, image_size=size), given.tasks, given.split_seed, given.classes_per_group
    )
    run = mplib.meta_train(
        tasks,
        net=given.net if len(given.net) > 1 else given.net[0],
        steps=given.steps,
        batch_size=given.batch_size,
        clip=given.clip,
        width=given.width,
        seed=given.seed,
        device=given.device,
        checkpoint=folder / "checkpoint.pt",
        checkpoint_every=given.checkpoint_every,
        resume=given.resume,
        progress=show_progress(given),
    )
    run.phi.save(folder / "phi.safetensors")
    write_table(run.history.frame(), folder / "history.csv")
    record_command(given, folder)
    last = run.history.rows[-1]
    print(
        f"validation loss {last['valid_loss']:.3f} after {last['step']} steps; phi is in {folder / 'phi.safetensors'}"
    )
