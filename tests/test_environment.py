"""Any machine: no home, another encoding, a back end of matplotlib that is not there, folders that
cannot be written.
"""

import ast
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from curves import plan, reaching, read_back, results, told
from networks import random_wnn

import nowcast
from collect import corpus
from collect.commands.cli import command
from collect.commands.inspect_corpus import main
from collect.commands.output import print_anything
from collect.commands.utf8 import in_utf8
from collect.config import CollectConfig
from collect.corpus import destination, places
from collect.corpus_config import InspectCorpusConfig
from collect.data.images import Images
from evaluate import Arm, joining
from evaluate.config import EvaluateConfig, ReportConfig
from meta_train.checkpoint import Checkpoint
from meta_train.config import MetaTrainConfig
from nowcast import paths
from nowcast.types import UserError

ROOT = Path(__file__).resolve().parent.parent
OURS = [
    file
    for folder in ("nowcast", "collect", "meta_train", "evaluate", "scripts", "hydra_plugins")
    for file in (ROOT / folder).rglob("*.py")
]


def names_no_encoding(call):
    """Whether a call opens a file as text in the encoding of the locale."""
    function, arguments = call.func, [*call.args, *(keyword.value for keyword in call.keywords)]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    modes = [
        one.value
        for one in arguments
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]
    if any(keyword.arg == "encoding" for keyword in call.keywords) or any(
        "b" in mode for mode in modes
    ):
        return False
    if name == "open":  # of a path: no argument, or a mode; open(path) too
        return not arguments or bool(modes) or isinstance(function, ast.Name)
    return name in ("read_text", "write_text", "NamedTemporaryFile", "fdopen")


@pytest.mark.parametrize("file", OURS, ids=[str(file.relative_to(ROOT)) for file in OURS])
def test_every_file_is_read_and_written_as_utf_8(file):
    calls = [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert [call.lineno for call in calls if names_no_encoding(call)] == []


@pytest.mark.parametrize(
    "file", [f for f in OURS if f.is_relative_to(ROOT / "scripts")], ids=lambda file: file.stem
)
def test_every_script_prints_on_any_terminal(file):
    text = file.read_text(encoding="utf-8")
    if 'if __name__ == "__main__":\n    main()' in text:
        assert "def main() -> None:\n    print_anything()\n" in text
    elif "__main__" in text:
        # It is called there.
        assert re.search(r"^from \w+\.commands import (\w+)$[^$]*^    \1\(\)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", "1.2× → a–b ≥ 3 … é ² 实 naïve".encode() + b"\xff"),
        ("latin-1", "1.2× -> a-b >= 3 ... é ² ? naïve".encode("latin-1") + b"\xff"),
        ("ascii", b"1.2x -> a-b >= 3 ... e 2 ? naive\xff"),
    ],
)
def test_what_a_terminal_cannot_show_is_printed_as_something_like_it(
    monkeypatch, encoding, printed
):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", io.TextIOWrapper(io.BytesIO(), encoding))
    print_anything()
    for stream in (sys.stdout, sys.stderr):
        print("1.2× → a–b ≥ 3 … é ² 实 naïve\udcff", file=stream, end="", flush=True)
        assert stream.buffer.getvalue() == printed


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Two reports of small made-up comparisons."""
    root = tmp_path_factory.mktemp("reports")
    for name in ("one", "two"):
        own = plan(seeds=1, constant=Arm(), linear=Arm(over="constant", forecaster="linear"))
        read_back(
            told(
                results(own, {"constant": [reaching(20)], "linear": [reaching(10)]}), content=name
            ),
            root / name,
        )
        (root / name / "configuration.json").write_text("{}")
    return root


@pytest.mark.slow
def test_a_command_of_a_notebooks_environment_in_another_encoding_reports(
    command_line, reports, tmp_path
):
    odd = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    done = subprocess.run(
        command_line("report", f"reports=[{reports / 'one'},{reports / 'two'}]", 'report="naïve"'),
        cwd=tmp_path,
        env=os.environ | odd,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "2.00×".encode() in done.stdout  # who types UTF-8 reads it
    assert "report: naïve/report.html".encode() in done.stdout
    text = (tmp_path / "naïve" / "report.md").read_text(encoding="utf-8")
    assert "2.00×" in text
    assert "naïve" in (tmp_path / "naïve" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("encoding", "argument", "switch", "anew"),
    [
        ("ascii", "corpus=c\udcc3\udca9", None, True),
        ("iso8859-1", "corpus=cÃ©", None, True),
        ("ascii", "corpus=c\udcc3\udca9", "1", False),
        ("utf-8", "corpus=cé", None, False),
        ("ascii", "corpus=ce", None, False),
    ],
)
def test_a_command_starts_anew_in_utf_8_where_names_are_not_read_as_that(
    monkeypatch, tmp_path, encoding, argument, switch, anew
):
    begun = []
    for name in [name for name, value in os.environ.items() if not value.isascii()]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTHONUTF8", raising=False)
    if switch:
        monkeypatch.setenv("PYTHONUTF8", switch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: encoding)
    monkeypatch.setattr("sys.argv", ["collect.py", argument])
    monkeypatch.setattr("sys.orig_argv", ["python", "-u", "collect.py", argument])
    monkeypatch.setattr(
        "os.execv", lambda program, command: begun.append((command[1:], os.environ["PYTHONUTF8"]))
    )
    in_utf8()
    assert begun == ([(["-u", "collect.py", argument], "1")] if anew else [])


def test_an_argument_that_is_not_utf_8_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["collect.py", "corpus=c\udce9"])
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    with pytest.raises(SystemExit) as ended:
        command("collect", CollectConfig, lambda config: None)
    assert ended.value.code == 2
    sys.stderr.flush()
    assert (
        sys.stderr.buffer.getvalue()
        == b"error: corpus=c\xe9: is not UTF-8; names and values are given in UTF-8\n"
    )


def test_a_path_that_tensorstore_would_read_otherwise_is_refused(monkeypatch, tmp_path):
    assert places.at(str(tmp_path / "cé")) == tmp_path / "cé"
    for read in (places.at, lambda path: Checkpoint(path, {}), lambda path: Images("mnist", path)):
        with pytest.raises(UserError, match="the path is not UTF-8; choose another path"):
            read(str(tmp_path / "c\udce9"))
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(
        UserError, match="Python reads names of files as iso8859-1 here; set PYTHONUTF8=1"
    ):
        places.at(str(tmp_path / "cé"))


def test_a_file_system_that_refuses_in_spite_of_all_rights_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    with pytest.raises(UserError) as caught:
        destination.make(places.at(f"file://{tmp_path}/corpus")).check()
    assert re.fullmatch(
        "cache '/proc/nothing/weight-nowcaster': (no right to write|nothing can be written) in"
        " '/proc'.*; set XDG_CACHE_HOME to a folder .*",
        str(caught.value),
    )
    assert not (tmp_path / "corpus").exists()


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home folder, and another folder to be in."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert list((tmp_path / "here").iterdir()) == []


def test_a_bundle_is_saved_and_loaded_at_home(home):
    nowcast.save(random_wnn(), "~/bundles/mine")
    assert {file.name for file in (home / "bundles" / "mine").iterdir()} == {
        "card.json",
        "params.npz",
    }
    assert nowcast.load("~/bundles/mine").name == nowcast.load(Path("~/bundles/mine")).name == "wnn"
    assert nowcast.bundle.read_card("~/bundles/mine")["forecaster"] == "wnn"
    with pytest.raises(UserError, match="exists and is not a bundle"):
        nowcast.save(random_wnn(), "~")


def test_a_corpus_and_reports_are_found_at_home(home, corpus_path, reports):
    (home / "corpus").symlink_to(corpus_path)
    assert len(corpus.open("~/corpus")) == len(corpus.open(Path("~/corpus"))) == 3
    for name in ("one", "two"):
        (home / name).symlink_to(reports / name)
    joining.write(Path("~/both"), [Path("~/one"), Path("~/two")])
    assert (home / "both" / "report.md").exists()


def test_every_path_of_a_configuration_may_begin_at_home(home):
    assert str(places.at(CollectConfig("~/mine").corpus)) == f"{home}/mine"
    assert EvaluateConfig("~/mine").report == f"{home}/mine"
    joined = ReportConfig(["~/a", "b/"], "~/mine")
    assert (joined.reports, joined.report) == ([f"{home}/a", "b/"], f"{home}/mine")
    assert InspectCorpusConfig("~/mine", pictures="~/drawn").pictures == f"{home}/drawn"
    assert MetaTrainConfig("~/mine", "~/bundle").bundle == f"{home}/bundle"
    with pytest.raises(
        UserError,
        match=r"'~nobody-here/a': no home folder is known for ~nobody-here; write the path",
    ):
        EvaluateConfig("~nobody-here/a")


def test_a_link_to_nothing_is_named_with_where_it_leads(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    said = f"'{link}' is a link to '{tmp_path / 'gone'}', which is not there; "
    for place in (link, link / "below"):
        with pytest.raises(UserError) as caught:
            paths.check_writable("corpus='mine'", place)
        assert str(caught.value) == f"corpus='mine': {said}make that folder, or choose another path"
    for read in (nowcast.load, corpus.open, lambda path: joining.read(Path(path))):
        with pytest.raises(UserError) as caught:
            read(str(link))
        assert said in str(caught.value)
    assert paths.dangling(tmp_path) == paths.dangling(tmp_path / "nothing") == ""


def test_a_cache_that_cannot_be_written_is_not_called_the_corpus(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError) as caught:
        destination.make(places.at(f"file://{tmp_path}/corpus")).check()
    cure = f"'{tmp_path / 'file'}' is a file; set XDG_CACHE_HOME to a folder that can be written"
    assert str(caught.value) == f"cache '{tmp_path / 'file' / 'weight-nowcaster'}': {cure}"


@pytest.fixture
def inspect(monkeypatch, tmp_path, corpus_path, capsys):
    """Verifies a corpus beside which nothing can be written, and gives what is printed."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "kept" / "mine").symlink_to(corpus_path)
    monkeypatch.chdir(tmp_path / "here")

    def run(*read_only, **more):
        access = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: Path(path).name not in read_only and access(path, mode)
        )
        main(InspectCorpusConfig(str(tmp_path / "kept" / "mine"), verify=True, **more))
        return capsys.readouterr().out

    return run


def test_a_corpus_that_can_only_be_read_is_verified_and_drawn_here(inspect, tmp_path):
    said = inspect("kept")
    assert "verified: every snapshot of 3 runs" in said
    assert "\npictures: mine-pictures (2 of them)\n" in said
    assert len(list((tmp_path / "here" / "mine-pictures").iterdir())) == 2


def test_where_nothing_can_be_written_a_corpus_is_verified_without_pictures(inspect, tmp_path):
    said = inspect("kept", "here")
    assert "verified: every snapshot of 3 runs" in said
    assert (
        "\npictures: none, for they can be written neither beside the corpus nor here; give"
        " pictures=…\n" in said
    )
    assert list((tmp_path / "here").iterdir()) == []


def test_pictures_that_were_asked_for_are_refused_where_they_cannot_be_written(inspect, tmp_path):
    with pytest.raises(
        UserError,
        match=r"^pictures='.*kept/drawn': no right to write in '.*kept'; choose another path",
    ):
        inspect("kept", pictures=str(tmp_path / "kept" / "drawn"))
