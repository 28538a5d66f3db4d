"""``mplib sweep``, which is also ``python -m mpbook sweep``: a chapter with many parameters, resumed and tabulated."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mplib.errors import MplibError

HELP = "run a chapter with every combination of some parameters, and make a table of what came out"
EPILOGUE = """\
examples:
  mplib sweep noise -p steps=100,300 --seeds 5 --jobs 2        10 runs, two at a time
  mplib sweep architectures -p 'nets=["conv4"],["vgg9"]' --preset smoke
  mplib sweep noise -p steps=100,300 --seeds 5 --scheduler tcp://host:8786

Each run is a notebook executed by papermill in a process of its own, with the parameters of --preset and those given
here. The same command again makes what is missing and tries again what failed. What is kept: the executed notebooks,
a row for each (mplib runs list FOLDER/runs), failures with their tracebacks, and table.csv.

--seeds 5 gives a chapter that declares 'seeds: list[int]' one seed a run, [0] to [4] (and 'seed: int' 0 to 4). A
chapter's own 'jobs' is 1 unless it is swept: the runs of a sweep are what goes side by side. On one GPU leave --jobs
at 1, since each kernel holds memory of its own there.

On several machines: 'dask scheduler' on one, 'dask worker tcp://HOST:8786 --nthreads 1' on each, with the same
checkout at the same path; with Slurm, dask-jobqueue starts the workers."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sweep", help=HELP, description=HELP, epilog=EPILOGUE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(command=run)
    parser.add_argument("chapter", metavar="CHAPTER", help="name of the chapter")
    parser.add_argument(
        "-p", dest="texts", action="append", default=[], metavar="NAME=A,B,C", help="values of a parameter (repeatable)"
    )
    parser.add_argument("--grid", type=Path, metavar="FILE", help="YAML file that maps names to lists of values")
    parser.add_argument("--seeds", type=int, metavar="N", help="one run for each of the seeds 0 to N - 1")
    parser.add_argument(
        "--preset", default="fast", metavar="NAME", help="all other parameters: smoke, fast or full (default: fast)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time on this machine (default: 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="run on the workers of this Dask scheduler instead")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="stop a run after this time (default: never)")
    parser.add_argument("--threads", type=int, metavar="N",
                        help="threads of a kernel (default: 1 if there are several, else no limit)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where it is kept (default: build/sweeps/CHAPTER)")
    parser.add_argument("--yes", action="store_true", help="do not refuse more than 1,000 runs")
    parser.add_argument("--root", type=Path, metavar="FOLDER", default=argparse.SUPPRESS,
                        help="folder of the book's checkout (default: found from the working directory)")  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """``mplib sweep``: 0 if every run is there in the end, 1 if some failed."""
    for name, least in (("jobs", 1), ("threads", 1), ("timeout", 0.001)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise MplibError(f"--{name} is {value}, expected at least {least}")
    try:
        from mpbook import grids, layout, notebooks, presets, sweeps
    except ModuleNotFoundError as error:
        raise MplibError(
            f"a sweep needs {error.name}, expected what runs the book: pip install 'metaperturb-book[book]'"
        ) from error
    book = layout.find(getattr(given, "root", None))
    declared = notebooks.declared(book.source(given.chapter))
    grid = grids.read_grid(declared, given.texts, given.grid)
    if given.seeds is not None:
        grid = grids.add_seeds(grid, declared, given.seeds)
    base = presets.resolve(book, given.preset, given.chapter)
    if "jobs" in base:
        base["jobs"] = 1
    runs = [{**base, **values} for values in grids.combinations(grid, confirmed=given.yes)]
    folder = given.out or book.root / "build" / "sweeps" / given.chapter
    alone = given.jobs == 1 and given.scheduler is None
    result = sweeps.sweep(
        book,
        given.chapter,
        runs,
        folder.resolve(),
        jobs=given.jobs,
        scheduler=given.scheduler,
        timeout=given.timeout,
        threads=given.threads or (None if alone else 1),
        say=lambda line: print(line, flush=True),
    )
    if result.rows:
        print(sweeps.summary(result.rows).to_string(index=False, float_format=lambda value: f"{value:.4g}"))
        print(f"{len(result.rows)} rows, as a table with all parameters and versions: {result.table}")
    if result.failures:
        print(
            f"{len(result.failures)} of {len(runs)} runs failed: their notebooks and tracebacks are in "
            f"{folder / 'failures'}; the same command tries them again"
        )
    return int(bool(result.failures))
