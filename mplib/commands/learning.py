"""``mplib meta-train``: learn a phi, in one process or, started by torchrun, in several."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mplib.commands.shared import (
    add_command,
    data_options,
    load_data,
    output_folder,
    record_command,
    show_progress,
    training_options,
    words,
    write_table,
)
from mplib.errors import MplibError

EXAMPLES = """\
mplib meta-train --data photos --tasks 8 --classes-per-group 8 --net conv4 --width 16 --batch-size 64 --out phi
torchrun --standalone --nproc_per_node=2 -m mplib meta-train --out phi      two processes learn the same phi"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "learn a phi jointly on many tasks cut from one data set"
    learn = add_command(commands, "meta-train", meta_train, text, EXAMPLES)
    data_options(learn, default="photos")
    text = "number of tasks, even: mirrored halves (default: 8)"
    learn.add_argument("--tasks", type=int, metavar="N", default=8, help=text)
    text = "classes in a task (default: all classes shared out)"
    learn.add_argument("--classes-per-group", type=int, metavar="N", help=text)
    text = "seed of the split into tasks (default: 0)"
    learn.add_argument("--split-seed", type=int, metavar="N", default=0, help=text)
    text = "network, or a list with one for each task, such as conv4,conv6 (default: resnet20)"
    learn.add_argument("--net", type=words, metavar="NAMES", default=["resnet20"], help=text)
    text = "seed of phi, networks, batches and noise (default: 0)"
    learn.add_argument("--seed", type=int, metavar="N", default=0, help=text)
    text = "steps between checkpoints (default: 50)"
    learn.add_argument("--checkpoint-every", type=int, metavar="N", default=50, help=text)
    text = "numbers of the forward passes: float32 or bfloat16 (default: float32)"
    learn.add_argument("--precision", metavar="TYPE", default="float32", help=text)
    training_options(learn, steps=750)


def meta_train(given: argparse.Namespace) -> None:
    """``mplib meta-train``: learn a phi."""
    from mplib import ranks

    try:
        _meta_train(given)
    except MplibError as error:
        if not ranks.speaks(error):  # another process says it
            sys.exit(2)
        raise


def _meta_train(given: argparse.Namespace) -> None:
    import mplib
    from mplib import ranks

    folder = output_folder(given) if ranks.speaks() else Path(given.out)
    tasks = mplib.data.split_tasks(load_data(given), given.tasks, given.split_seed, given.classes_per_group)
    run = mplib.meta_train(
        tasks,
        net=given.net if len(given.net) > 1 else given.net[0],
        steps=given.steps,
        batch_size=given.batch_size,
        clip=given.clip,
        width=given.width,
        seed=given.seed,
        device=given.device,
        precision=given.precision,
        checkpoint=folder / "checkpoint.pt",
        checkpoint_every=given.checkpoint_every,
        resume=given.resume,
        progress=show_progress(given),
    )
    if not ranks.speaks():
        return
    run.phi.save(folder / "phi.safetensors")
    write_table(run.history.frame(), folder / "history.csv")
    record_command(given, folder)
    last = run.history.rows[-1]
    print(
        f"validation loss {last['valid_loss']:.3f} after {last['step']} steps; phi is in {folder / 'phi.safetensors'}"
    )
