"""From executed notebooks to pages: jupyter-book renders the outputs, executes nothing, and forgives nothing.

A clean source tree is put together in ``build/<preset>/site``: the book's pages with the executed notebooks in
the place of the chapters. It is built from nothing each time, because a second, incremental build does not repeat
the warnings of unchanged pages. The pages then pass :mod:`mpbook.htmlcheck`, and only what passes replaces
``_build/html``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from mpbook import execution, generated, htmlcheck, notebooks, published, tracing
from mpbook.generated import costs
from mpbook.layout import Book, read_yaml
from mplib.errors import MplibError
from mplib.files import write_text

NOT_PAGES = shutil.ignore_patterns("*.ipynb", ".*", "__pycache__")


def render(book: Book, preset: str) -> Path:
    """Build and check the pages of one preset.

    Args:
        book: the book; every chapter has to be executed with this preset.
        preset: ``smoke``, ``fast`` or ``full``.

    Returns:
        The path of the front page, ``_build/html/index.html``.

    Raises:
        MplibError: a chapter without up-to-date outputs, a number without a row, a warning of the build, or a page
            that fails its checks.
    """
    stale = [name for name in book.chapters if not execution.up_to_date(book, preset, name)]
    if stale:
        raise MplibError(
            f"no up-to-date outputs of {', '.join(stale)}, expected 'python -m mpbook run --preset {preset}' first"
        )
    untraced = [problem for name in book.chapters for problem in tracing.problems(book, preset, name)]
    if untraced:
        raise MplibError("\n".join(untraced))
    site = assemble(book, preset)
    html = _build(site, book.build(preset) / "pages")
    tracing.publish(book, preset, html / "runs")
    costs.publish(book, html / "runs")
    published.publish_rows(book, preset, html / "runs")
    found = htmlcheck.problems(html)
    if found:
        raise MplibError("\n".join([*found, f"{len(found)} problems in the pages under {html}"]))
    return publish(html, book.root / "_build" / "html")


def assemble(book: Book, preset: str) -> Path:
    """Put the source tree together that jupyter-book renders, from nothing.

    Returns:
        Its root, ``build/<preset>/site``.
    """
    site = book.build(preset) / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(book.root / "book", site / "book", ignore=NOT_PAGES)
    for path in [book.root / "_toc.yml", *book.root.glob("*.md")]:
        shutil.copy2(path, site / path.name)
    for name in book.chapters:
        notebooks.write(site / book.relative(name), published.notebook(book, preset, name, repository(book.root)))
    generated.fill(book, site)
    write_text(site / "_config.yml", yaml.safe_dump(configuration(book), sort_keys=False, allow_unicode=True))
    return site


def configuration(book: Book) -> dict[str, Any]:
    """The book's configuration with execution off and the repository's address filled in.

    Where the address is not known there are no launch buttons, rather than ones that lead nowhere.
    """
    config: dict[str, Any] = read_yaml(book.root / "_config.yml")
    config.setdefault("execute", {})["execute_notebooks"] = "off"
    address = repository(book.root)
    if address:
        config["repository"] = {
            "branch": published.BRANCH,
            "path_to_book": "",
            **config.get("repository", {}),
            "url": address,
        }
    else:
        config.pop("launch_buttons", None)
        config.pop("repository", None)
        config["html"] = {k: v for k, v in config.get("html", {}).items() if not re.fullmatch(r"use_(\w+)_button", k)}
    return config


def repository(root: Path) -> str:
    """The public address of the repository, for the launch buttons; empty if there is none.

    Looked for in ``[project.urls] Repository`` of ``pyproject.toml``, in the variables of a GitHub workflow, and in
    git's ``origin``.
    """
    project = root / "pyproject.toml"
    if project.is_file():
        address = tomllib.loads(project.read_text(encoding="utf-8"))["project"].get("urls", {}).get("Repository")
        if address:
            return str(address)
    if "GITHUB_REPOSITORY" in os.environ:
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
    git = ["git", "-C", str(root), "config", "--get", "remote.origin.url"]
    try:
        origin = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git on this machine
        return ""
    # https://github.com/owner/name.git, git@github.com:owner/name.git; a user or a token is left out
    match = re.fullmatch(r"(?:https://|ssh://)?(?:[^/@]+@)?(git(?:hub|lab)\.com)[:/](.+?)(?:\.git)?/?", origin)
    return f"https://{match[1]}/{match[2]}" if match else ""


def _build(site: Path, output: Path) -> Path:
    """Run jupyter-book with warnings as errors; the pages it made are returned."""
    shutil.rmtree(output, ignore_errors=True)
    # The console script of this interpreter, whatever is on the PATH
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command = [*jupyter_book, "build", str(site), "--path-output", str(output)]
    command += ["-W", "-n", "--keep-going", "--all", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    html = output / "_build" / "html"
    if done.returncode or not (html / "index.html").is_file():
        lines = (done.stdout + done.stderr).splitlines()
        warnings = [line for line in lines if re.search(r"WARNING|ERROR|Error", line)] or lines[-20:]
        text = "\n".join(line.replace(str(site), "").lstrip("/") for line in warnings)
        raise MplibError(f"jupyter-book failed (exit status {done.returncode}):\n{text}")
    return html


def publish(html: Path, final: Path) -> Path:
    """Copy checked pages to their final place, replacing what was there in one step."""
    final.parent.mkdir(parents=True, exist_ok=True)
    incoming, outgoing = final.with_name("html.new"), final.with_name("html.old")
    for folder in (incoming, outgoing):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(html, incoming)
    if final.exists():
        os.replace(final, outgoing)
    os.replace(incoming, final)
    shutil.rmtree(outgoing, ignore_errors=True)
    return final / "index.html"
