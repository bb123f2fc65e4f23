"""What the documentation shows is run: python blocks, sessions, commands, docstrings; and nothing is left out."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import json
import pkgutil
import re
import shlex
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from blinker import NamedSignal
from click.testing import CliRunner
from flask import Flask
from flask.cli import FlaskGroup
from flask_sqlalchemy import SQLAlchemy

import flask_statemanager
from flask_statemanager import StateManager, signals
from flask_statemanager.cli.exits import EXITS
from flask_statemanager.config import PREFIX, Settings
from tests.test_cli_registry import walked

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.rst", *sorted(DOCS.glob("*.rst"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

REASONS = {
    "takes a quarter of an hour",
    "installs packages",
    "starts a server that runs until it is stopped",
    "belongs in the reader's own project",
    "needs a Redis of the reader's",
}
"""Why a block is not run; it says so in a comment before it, ``.. not run: <reason>``."""

BLOCK = re.compile(
    r"^(?:\.\. not run: (?P<reason>[^\n]+)\n\n)?"
    r"^\.\. code-block:: (?P<language>[\w-]+)\n\n(?P<body>(?:   [^\n]*\n|\n)+)",
    re.M,
)


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = page.read_text("utf-8") + "\n"
    return [
        Block(
            page,
            text[: found.start("body")].count("\n") + 1,
            found["language"],
            textwrap.dedent(found["body"]).strip("\n") + "\n",
            found["reason"],
        )
        for found in BLOCK.finditer(text)
    ]


class Reader:
    """Somebody who types a page's blocks one after another.

    A page that has ``.. starts from nothing`` at its top makes its own app; the others begin with the one of the
    quickstart, in its context.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def run(self, block: Block) -> None:
        getattr(self, f"run_{block.language.replace('-', '_')}")(block)

    def run_python(self, block: Block) -> None:
        tree = ast.parse(block.text)
        ast.increment_lineno(tree, block.line - 1)
        exec(compile(tree, str(block.page), "exec", dont_inherit=True), self.names)  # noqa: S102 - our own page

    def run_pycon(self, block: Block) -> None:
        examples = doctest.DocTestParser().get_doctest(
            block.text, self.names, block.page.name, str(block.page), block.line - 1
        )
        examples.globs = self.names  # a session goes on with what the blocks before it made
        report: list[str] = []
        doctest.DocTestRunner(optionflags=FLAGS).run(examples, out=report.append, clear_globs=False)
        assert not report, "".join(report)

    def run_console(self, block: Block) -> None:
        for command, output in commands(block.text):
            words = shlex.split(command)
            assert words[0] == "flask", f"line {block.line}: mark {command!r} as not run, only flask commands are"
            group = FlaskGroup(create_app=lambda: self.names["app"])
            result = CliRunner().invoke(group, words[1:], input="y\n")
            assert result.exit_code == 0 or "Error" in output, f"{command}: {result.output} {result.exception!r}"
            checker = doctest.OutputChecker()
            assert not output or checker.check_output(output, result.output, FLAGS), f"{command}:\n{result.output}"

    def run_json(self, block: Block) -> None:
        json.loads(block.text)

    def run_javascript(self, block: Block) -> None:
        raise AssertionError(f"line {block.line}: mark it as not run, as no page's JavaScript is")

    def run_text(self, block: Block) -> None:
        """Read it: text is no code."""


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, output = part.partition("\n")
        yield command, output.strip("\n") + "\n" if output.strip() else ""


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader with an empty folder and no state manager yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    StateManager.reset_instance()
    made = Reader({"__name__": "page"})
    yield made
    StateManager.reset_instance()
    app = made.names.get("app")
    if app is not None and "sqlalchemy" in app.extensions:
        with app.app_context():
            for engine in made.names["db"].engines.values():
                engine.dispose()


def quickstart(folder: Path) -> dict[str, Any]:
    """Return the names that the quickstart leaves behind."""
    app = Flask("page")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'app.db'}"
    db = SQLAlchemy(app)
    state_manager = StateManager(app)
    with app.app_context():
        db.create_all()
    return {"app": app, "db": db, "state_manager": state_manager}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_their_order(page, reader, tmp_path):
    found = [block for block in blocks(page) if block.reason is None]
    if not found or ".. starts from nothing\n" in page.read_text("utf-8"):
        for block in found:
            reader.run(block)
        return
    reader.names.update(quickstart(tmp_path), **{name: getattr(flask_statemanager, name) for name in PUBLIC})
    with reader.names["app"].app_context():
        for block in found:
            reader.run(block)


PUBLIC = [name for name in flask_statemanager.__all__ if not name.startswith("_")]


def test_the_reader_notices_a_wrong_output(reader):
    with pytest.raises(AssertionError, match="Expected:"):
        reader.run(Block(Path("page.rst"), 1, "pycon", ">>> 1 + 1\n3\n", None))
    reader.names.update(quickstart(Path.cwd()))
    with pytest.raises(AssertionError, match="feature"):
        reader.run(Block(Path("page.rst"), 1, "console", "$ flask state types\nnothing\n", None))


def test_no_block_escapes_the_reader():
    for page in PAGES:
        text = page.read_text("utf-8")
        found = blocks(page)
        assert text.count("code-block::") == len(found), page.name
        assert "::\n\n    " not in text, f"{page.name} has a literal block: write code-block"
        for block in found:
            assert hasattr(Reader, f"run_{block.language.replace('-', '_')}"), f"{page.name}: {block.language}"


def test_what_is_not_run_says_why():
    given = {(block.page.name, block.reason) for page in PAGES for block in blocks(page) if block.reason}
    assert {reason for _, reason in given} == REASONS


def test_the_readme_needs_no_sphinx():
    text = (ROOT / "README.rst").read_text("utf-8")
    assert set(re.findall(r"^ *\.\. ([\w-]+)::", text, re.M)) <= {"code-block"}
    assert re.findall(r":[\w:+-]+:`", text) == []
    assert len(text.splitlines()) < 70


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.rst").read_text("utf-8")
    listed = set(re.findall(r"^   (\w+)$", index, re.M))
    assert listed == {page.stem for page in DOCS.glob("*.rst")} - {"index", "examples"}


# -- nothing is left out, nothing is stale ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The module that turns the package into pages; it needs no Sphinx."""
    spec = importlib.util.spec_from_file_location("generated", DOCS / "_ext" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_config_key_is_documented(generated):
    assert ".. generated:: config_keys\n" in (DOCS / "configuration.rst").read_text("utf-8")
    text = generated.config_keys()
    for key, default, doc in Settings.documented():
        assert f".. confval:: {key}\n   :default: ``{default!r}``\n\n   {doc}\n" in text
        assert len(doc) > 20


def test_the_docs_name_no_key_that_does_not_exist():
    known = {key for key, _, _ in Settings.documented()}
    for page in PAGES:
        named = set(re.findall(rf"(?<![A-Z_]){PREFIX}[A-Z_]+", page.read_text("utf-8")))
        assert named <= known, page.name


def test_every_signal_is_documented(generated):
    assert ".. generated:: signal_list\n" in (DOCS / "events.rst").read_text("utf-8")
    text = generated.signal_list()
    sent = {name: value for name, value in vars(signals).items() if isinstance(value, NamedSignal)}
    assert {value for value in signals.namespace.values() if ":" not in value.name} == set(sent.values())
    for name, value in sent.items():
        assert f".. py:data:: flask_statemanager.signals.{name}\n" in text
        assert "Payload: " in value.__doc__


def test_every_command_is_in_the_reference_with_its_options(generated):
    assert ".. generated:: commands\n" in (DOCS / "cli_reference.rst").read_text("utf-8")
    assert ".. generated:: exit_codes\n" in (DOCS / "cli.rst").read_text("utf-8")
    text = generated.commands()
    for words, command in walked():
        path = " ".join(("flask state", *words))
        assert f"``{path}``\n" in text
        if not isinstance(command, click.Group):
            part = text.partition(f".. program:: {path}\n")[2].partition(".. program::")[0]
            options = [each for each in command.params if isinstance(each, click.Option)]
            assert all(each.opts[0] in part for each in options), path
    assert all(f"**{code}**" in generated.exit_codes() for code, _meaning in EXITS)


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api.rst").read_text("utf-8")
    listed = set(re.findall(r"^\.\. auto(?:class|exception)\w*:: (\w+)(?:\(\))?$", text, re.M))
    assert listed == set(PUBLIC) - {"signals"}


def modules() -> list[str]:
    """Return the modules that have examples; the migrations are scripts, not modules."""
    found = pkgutil.walk_packages(flask_statemanager.__path__, "flask_statemanager.")
    specs = [importlib.util.find_spec(info.name) for info in found if ".migrations" not in info.name]
    return [spec.name for spec in specs if spec and spec.origin and ">>> " in Path(spec.origin).read_text("utf-8")]


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    StateManager.reset_instance()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert doctest.testmod(module, optionflags=FLAGS).failed == 0
    finally:
        StateManager.reset_instance()
