"""A fit that is killed, stopped or goes wrong: nothing is lost, and the same command goes on."""

import json
import re
import shutil
import signal
import time

import numpy as np
import pytest

import nowcast
from collect.corpus import checkpoint_pace
from meta_train import checkpoint as checkpoints
from meta_train import fitting, trainer
from meta_train.checkpoint import Checkpoint
from meta_train.commands.meta_train import main
from meta_train.config import MetaTrainConfig
from meta_train.fitting import Outcome, meta_train
from meta_train.trainer import Progress


class Killed(BaseException):
    pass


@pytest.fixture
def config(corpus_path, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))  # every evaluation is a checkpoint

    def make(**overrides):
        given = {"steps": 12, "batch_size": 64, "bundle": str(tmp_path / "bundle")} | overrides
        return MetaTrainConfig(str(corpus_path), **given)

    return make


@pytest.fixture(scope="module")
def whole(corpus_path, tmp_path_factory):
    """The bundle's card when nothing happens."""
    path = tmp_path_factory.mktemp("whole") / "bundle"
    return meta_train(MetaTrainConfig(str(corpus_path), str(path), steps=12, batch_size=64)).card


def kill_at(monkeypatch, number, *, before_index):
    """Die in the save of this number: when all is on disk, or before the index says so."""
    save, saves = Checkpoint.save, []

    def dying(self, progress):
        saves.append(progress)
        if len(saves) == number and before_index:
            monkeypatch.setattr(
                "meta_train.checkpoint.replace", lambda *_: (_ for _ in ()).throw(Killed)
            )
        save(self, progress)
        if len(saves) == number:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", dying)


@pytest.mark.parametrize(
    ("number", "before_index"),
    [pytest.param(1, True, marks=pytest.mark.slow), (7, False)],
    ids=["in the middle of the first save", "after the seventh"],
)
def test_a_killed_fit_goes_on_and_ends_in_the_same_parameters(
    config, whole, monkeypatch, tmp_path, number, before_index
):
    with monkeypatch.context() as patch:
        kill_at(patch, number, before_index=before_index)
        with pytest.raises(Killed):
            meta_train(config())
    assert not (tmp_path / "bundle").exists()
    begun = []
    fit = trainer.fit
    monkeypatch.setattr(trainer, "fit", lambda *given: begun.append(given[-1].step) or fit(*given))
    card = meta_train(config()).card
    assert begun == [number - before_index]
    assert (card["params_sha256"], card["curves"]) == (whole["params_sha256"], whole["curves"])
    assert [item.name for item in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(launch, script, corpus_path, tmp_path):
    given = [f"corpus={corpus_path}", "steps=1500", "batch_size=64", "patience=1000"]
    for name, kill in (("whole", False), ("killed", True)):
        command = ["meta_train", *given, f"bundle={tmp_path / name}"]
        if kill:
            process = launch(*command)
            index = tmp_path / f"{name}.checkpoint" / "progress.json"
            while process.poll() is None and not index.exists():
                time.sleep(0.01)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            assert not (tmp_path / name).exists()
            assert 0 < json.loads(index.read_text())["step"] < 1500
        done = script(*command)
        assert done.returncode == 0, done.stderr
    one, other = (
        json.loads((tmp_path / name / "card.json").read_text()) for name in ("whole", "killed")
    )
    assert one["params_sha256"] == other["params_sha256"]


def test_sigterm_stops_in_good_order(launch, corpus_path, tmp_path):
    given = [
        f"corpus={corpus_path}",
        "steps=8000",
        "patience=100",
        "batch_size=64",
        "bundle=mine",
        "log=csv",
    ]
    process = launch("meta_train", *given, cwd=tmp_path)
    while process.poll() is None and not (tmp_path / "mine.log" / "loss.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "SIGTERM received" in out
    assert out.splitlines()[-1].startswith("next: the same command")
    assert (tmp_path / "mine.checkpoint" / "progress.json").exists()


def test_checkpoints_are_as_often_as_a_twentieth_of_the_time_allows(tmp_path, monkeypatch):
    now = iter([0, 0.1, 10, 12, 51.9, 52.1])  # begun, first asked; saved from 10 to 12; asked twice
    monkeypatch.setattr(checkpoint_pace.time, "monotonic", lambda: next(now))
    checkpoint = Checkpoint(str(tmp_path / "bundle"), {})
    monkeypatch.setattr(checkpoint, "_write", lambda *_: None)
    assert checkpoint.due()
    checkpoint.save(Progress(1, *[None] * 6))
    assert [checkpoint.due(), checkpoint.due()] == [False, True]


def test_max_minutes_stops_and_the_same_command_goes_on(config, whole, tmp_path):
    stopped = meta_train(config(max_minutes=1e-9))
    assert (stopped.card, stopped.exit_code) == (None, 0)
    assert "max_minutes" in stopped.stopped
    assert meta_train(config()).card["params_sha256"] == whole["params_sha256"]


@pytest.fixture
def checkpoint(config, tmp_path):
    """Of a fit that was stopped."""
    meta_train(config(max_minutes=1e-9))
    return tmp_path / "bundle.checkpoint"


def test_a_checkpoint_that_has_the_older_name_of_networks_goes_on(config, whole, checkpoint):
    index = json.loads((checkpoint / "progress.json").read_text())
    index["configuration"]["served_by"] = index["configuration"].pop("networks")
    (checkpoint / "progress.json").write_text(json.dumps(index))
    assert meta_train(config()).card["params_sha256"] == whole["params_sha256"]


def test_a_checkpoint_of_another_configuration_is_refused_and_kept(config, checkpoint):
    before = sorted(checkpoint.rglob("*"))
    with pytest.raises(nowcast.UserError, match=r"steps=12, now 13; .*remove the folder"):
        meta_train(config(steps=13))
    assert sorted(checkpoint.rglob("*")) == before


def test_a_checkpoint_of_another_corpus_is_refused(config, checkpoint, corpus_path, tmp_path):
    fewer = shutil.copytree(corpus_path, tmp_path / "fewer")
    shutil.rmtree(sorted((fewer / "runs").iterdir())[-1])
    other = config()
    other.corpus = [str(fewer)]
    with pytest.raises(nowcast.UserError, match="corpora="):
        meta_train(other)


@pytest.mark.parametrize("harm", ["index", "arrays"])
def test_a_damaged_checkpoint_is_refused_with_the_cure(config, checkpoint, harm):
    if harm == "index":
        (checkpoint / "progress.json").write_text('{"conf')
    else:
        step = json.loads((checkpoint / "progress.json").read_text())["step"]
        shutil.rmtree(checkpoint / str(step))
    with pytest.raises(nowcast.UserError, match=r"damaged .*remove it") as caught:
        meta_train(config())
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_in_the_checkpoints_place_is_refused(config, tmp_path):
    (tmp_path / "bundle.checkpoint").mkdir()
    (tmp_path / "bundle.checkpoint" / "letter.txt").write_text("dear")
    with pytest.raises(nowcast.UserError, match="holds something else"):
        meta_train(config())
    assert (tmp_path / "bundle.checkpoint" / "letter.txt").read_text() == "dear"


def test_a_loss_that_is_not_finite_names_the_step_the_last_good_checkpoint_and_the_cure(
    config, monkeypatch, tmp_path
):
    losses = trainer.objective.losses

    def failing(kind, params, batch, window):
        moved = abs(
            params["head"]["bias"]
        ).max()  # a step of Adam moves it by the learning rate at most
        return losses(kind, params, batch, window) * trainer.jnp.where(
            moved > 2.5e-3, trainer.jnp.nan, 1
        )

    monkeypatch.setattr(trainer.objective, "losses", failing)
    trainer._compiled.cache_clear()
    with pytest.raises(nowcast.UserError, match="not finite at step") as caught:
        meta_train(config(learning_rate=2e-3))
    trainer._compiled.cache_clear()
    good = int(
        re.search(
            r"last good checkpoint is step (\d+); remove .* lower learning_rate=0.002",
            str(caught.value),
        )[1]
    )
    index = json.loads((tmp_path / "bundle.checkpoint" / "progress.json").read_text())
    assert index["step"] == good > 0
    assert np.isfinite(index["lowest"]).all()
    assert not (tmp_path / "bundle").exists()


def test_parameters_that_are_not_finite_are_no_checkpoint(config, tmp_path):
    with pytest.raises(
        nowcast.UserError, match=r"not finite at step 1; no checkpoint yet; lower learning_rate"
    ):
        meta_train(config(learning_rate=99, forecaster="wnn"))
    assert not (tmp_path / "bundle.checkpoint").exists()


def test_two_commands_cannot_fit_one_bundle(config, tmp_path):
    with (
        Checkpoint(str(tmp_path / "bundle"), {}),
        pytest.raises(nowcast.UserError, match="another command is fitting this bundle"),
    ):
        meta_train(config())


def test_two_jobs_of_a_sweep_cannot_write_one_bundle(monkeypatch):
    fitted = []
    monkeypatch.setattr(
        fitting,
        "meta_train",
        lambda config, line: fitted.append(config.horizon) or Outcome(None, "enough"),
    )
    main(MetaTrainConfig("corpora/mine", "bundles/mine", horizon=2))
    with pytest.raises(
        nowcast.UserError,
        match=r"bundle=bundles/mine: another job of this -m writes it; give each its own",
    ):
        main(MetaTrainConfig("corpora/mine", "bundles/mine", horizon=3))
    assert fitted == [2]


@pytest.mark.slow
def test_every_job_of_a_sweep_makes_its_bundle(script, corpus_path, tmp_path):
    done = script(
        "meta_train",
        "-m",
        f"corpus={corpus_path}",
        "horizon=2,3",
        "bundle=bundles/h${horizon}",
        "steps=2",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert [nowcast.load(tmp_path / "bundles" / f"h{h}").horizon for h in (2, 3)] == [2, 3]
    # The corpus is of MLPs.
    assert done.stdout.count("no run has weights of conv, depthwise_conv") == 2


def test_a_damaged_array_of_a_checkpoint_ends_the_command_with_one_line(
    script, checkpoint, corpus_path
):
    for file in checkpoint.rglob("d/*"):
        file.write_bytes(bytes(8) + file.read_bytes()[8:])
    given = [
        f"corpus={corpus_path}",
        f"bundle={checkpoint.with_suffix('')}",
        "steps=12",
        "batch_size=64",
    ]
    done = script("meta_train", *given)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "remove it" in done.stderr
