"""A series of checkpoints becomes a run: in order, by name, as float32, or is refused in one line
with nothing left behind.
"""

import shutil

import h5py
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from safetensors.numpy import save_file

import nowcast
from collect import corpus
from collect.corpus import inspection
from collect.corpus.importing import import_checkpoints

SHAPES = {
    "layer1.0.conv1.weight": (4, 3, 3, 3),
    "layer1.0.bn1.weight": (4,),
    "layer1.0.bn1.bias": (4,),
    "wte.weight": (6, 4),
    "fc.weight": (2, 4),
    "fc.bias": (2,),
}
OPS = {
    "layer1.0.conv1.weight": "conv",
    "layer1.0.bn1.weight": "norm",
    "layer1.0.bn1.bias": "norm",
    "wte.weight": "embedding",
    "fc.weight": "fc",
    "fc.bias": "bias",
}


def arrays(step, dtype=np.float32):
    rng = np.random.default_rng(step)
    return {name: (rng.normal(size=shape)).astype(dtype) for name, shape in SHAPES.items()}


def nested(flat):
    tree = {}
    for name, array in flat.items():
        *parents, last = name.split(".")
        inside = tree
        for part in parents:
            inside = inside.setdefault(part, {})
        inside[last] = array
    return tree


def write(
    folder, steps, name="step_{}.npz", save=lambda path, given: np.savez(path, **given), make=arrays
):
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        (folder / name.format(step)).parent.mkdir(exist_ok=True)
        save(folder / name.format(step), make(step))
    return folder


def check(path, steps, rename=lambda name: name, run="mine-7"):
    [got] = [one for one in corpus.open(path) if one.id == run]
    np.testing.assert_array_equal(got.metrics["step"], steps)
    assert {leaf.path: (leaf.shape, leaf.op) for leaf in got.leaves} == {
        rename(name): (shape, OPS[name]) for name, shape in SHAPES.items()
    }
    given = {step: {rename(name): array for name, array in arrays(step).items()} for step in steps}
    for number, step in enumerate(steps):
        for leaf in got.leaves:
            row = got.weights[number, leaf.scalars].reshape(leaf.shape)
            np.testing.assert_array_equal(row, given[step][leaf.path])
    inspection.verify(got)
    return got


def slashes(name):
    return name.replace(".", "/")


def write_h5(path, given):
    """As Keras 2 names its arrays, beside an optimizer's state."""
    with h5py.File(path, "w") as file:
        for name, array in given.items():
            file[f"{name}:0"] = array
            file[f"optimizer_weights/{name}/m:0"] = np.zeros(2)


KINDS = {
    "npz": ("step_{}.npz", lambda path, given: np.savez(path, **given), lambda name: name),
    "safetensors": (
        "model-{}.safetensors",
        lambda path, given: save_file(given, path),
        lambda name: name,
    ),
    "h5": ("weights-{}.h5", lambda path, given: write_h5(path, given), lambda name: name),
    "orbax": (
        "{}",
        lambda path, given: ocp.save(
            path.resolve(), {"params": nested(given), "step": np.array(3)}
        ),
        slashes,
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_series_becomes_a_run(tmp_path, kind):
    name, save, rename = KINDS[kind]
    # 1000 comes before 800 as a text.
    folder = write(tmp_path / "in", [900, 1000, 800, 1100], name, save)
    done = import_checkpoints(str(folder), str(tmp_path / "c"), run="mine-7")
    assert (done.snapshots, done.every) == (4, 100)
    assert done.operations == {"conv": 1, "fc": 1, "bias": 1, "norm": 2, "embedding": 1}
    got = check(tmp_path / "c", [800, 900, 1000, 1100], rename)
    assert (got.config["task"], got.config["record_every"]) == ("mine", 100)


def test_checkpoints_of_pytorch_are_read_without_their_code(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def save(path, given):
        tensors = {name: torch.from_numpy(array) for name, array in given.items()}
        torch.save(
            {"model": tensors, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 3},
            path,
        )

    folder = write(tmp_path / "in", range(4), "epoch{}.pt", save)
    import_checkpoints(str(folder), str(tmp_path / "c"), run="mine-7")
    check(tmp_path / "c", range(4))


def test_without_pytorch_its_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    folder = write(tmp_path / "in", range(3), "{}.pt", lambda path, given: path.write_bytes(b"PK"))
    refused(tmp_path, folder, "pip install torch")


@pytest.mark.parametrize(
    ("name", "pattern", "steps"),
    [
        ("checkpoint-{}/model.safetensors", "checkpoint-*/model.safetensors", [5, 10, 15]),
        ("net2_step{}_of_500.safetensors", "*.safetensors", [100, 200, 250]),
        ("epoch0{}.safetensors", "*", [7, 8, 9]),
    ],
)
def test_the_numbers_in_the_names_are_the_steps(tmp_path, name, pattern, steps):
    folder = write(tmp_path / "run3", steps, name, KINDS["safetensors"][1])
    import_checkpoints(str(folder / pattern), str(tmp_path / "c"), run="mine-7")
    check(tmp_path / "c", steps)


def test_of_several_numbers_the_step_counts(tmp_path):
    folder = write(tmp_path / "in", [1, 2, 3], "epoch={0}-step={0}00.npz")
    import_checkpoints(str(folder), str(tmp_path / "c"), run="mine-7")
    np.testing.assert_array_equal(
        corpus.open(tmp_path / "c").runs[0].metrics["step"], [100, 200, 300]
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16], ids=str)
def test_other_precisions_become_float32_and_that_is_said(tmp_path, dtype):
    folder = write(
        tmp_path / "in",
        range(3),
        "{}.safetensors",
        KINDS["safetensors"][1],
        lambda step: arrays(step, dtype),
    )
    done = import_checkpoints(str(folder), str(tmp_path / "c"), run="a")
    assert done.notes == [f"converted to float32: {np.dtype(dtype).name}"]
    [got] = corpus.open(tmp_path / "c").runs
    for leaf in got.leaves:
        given = arrays(2, dtype)[leaf.path].astype(np.float32)
        np.testing.assert_array_equal(got.weights[2, leaf.scalars].reshape(leaf.shape), given)


def test_a_precision_in_the_middle_of_a_series_is_said_with_its_number(tmp_path):
    kinds = {3: np.float16, 4: np.float64, 5: np.float64}
    folder = write(
        tmp_path / "in", range(7), make=lambda step: arrays(step, kinds.get(step, np.float32))
    )
    done = import_checkpoints(str(folder), str(tmp_path / "c"), run="a")
    assert done.notes == [
        "converted to float32: float16 in 1 of 7 checkpoints, float64 in 2 of 7 checkpoints"
    ]


@pytest.mark.parametrize("options", [{}, {"kind": "gram", "band": 2}], ids=["weights", "gram"])
@pytest.mark.parametrize("last", [np.nan, np.inf, 1.0])
def test_a_series_that_diverged_is_said_to_have_done_so(tmp_path, options, last):
    folder = write(
        tmp_path / "in",
        range(4),
        make=lambda step: {"w": np.full((2, 3), [1, np.nan, 1, last][step], np.float32)},
    )
    done = import_checkpoints(str(folder), str(tmp_path / "c"), run="a", **options)
    [got] = corpus.open(tmp_path / "c").runs
    assert got.status == ("complete" if last == 1 else "diverged")
    assert done.notes == [
        "not finite: weights of 1 checkpoints (step_1.npz); no forecaster is fitted to windows with"
        " them"
        if last == 1
        else "diverged: the last checkpoint holds weights that are not finite; the run is marked so"
    ]


@pytest.mark.parametrize(
    ("form", "prefix"),
    [
        (
            lambda flat: (
                {f"model.{name}": array for name, array in flat.items()}
                | {"optimizer.mu.w": np.ones(3), "step": np.ones(1)}
            ),
            None,
        ),
        (
            lambda flat: (
                {f"net.{name}": array for name, array in flat.items()} | {"average.w": np.ones(3)}
            ),
            "net",
        ),
        (
            lambda flat: (
                {f"a/b/{name}": array for name, array in flat.items()} | {"a/c/w": np.ones(3)}
            ),
            "a.b",
        ),
    ],
    ids=["found", "named", "deep"],
)
def test_the_parameters_are_found_beside_an_optimizers_state(tmp_path, form, prefix):
    folder = write(tmp_path / "in", range(3), make=lambda step: form(arrays(step)))
    import_checkpoints(str(folder), str(tmp_path / "c"), run="mine-7", prefix=prefix)
    check(tmp_path / "c", range(3))


def test_a_network_whose_parts_have_such_names_is_taken_as_a_whole(tmp_path):
    folder = write(
        tmp_path / "in",
        range(3),
        make=lambda step: {"model.w": np.ones((2, 3)), "lm_head.weight": np.ones((3, 2))},
    )
    import_checkpoints(str(folder), str(tmp_path / "c"), run="a")
    assert [leaf.path for leaf in corpus.open(tmp_path / "c").runs[0].leaves] == [
        "lm_head.weight",
        "model.w",
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_an_orbax_checkpoint_the_state_beside_the_parameters_is_left_out(tmp_path):
    def save(path, given):
        ocp.save(
            path.resolve(),
            {
                "params": nested(given),
                "opt_state": [jnp.ones(3)],
                "batch_stats": {"bn": {"mean": jnp.ones(2)}},
            },
        )

    folder = write(tmp_path / "in", range(3), "{}", save)
    import_checkpoints(str(folder), str(tmp_path / "c"), run="mine-7")
    check(tmp_path / "c", range(3), slashes)


def test_a_file_of_operations_has_the_last_word(tmp_path):
    file = tmp_path / "operations.yaml"
    file.write_text('"*.bn1.*": other\n"wte.*": null\n"*.weight": fc\n')
    folder = write(tmp_path / "in", range(3))
    done = import_checkpoints(str(folder), str(tmp_path / "c"), run="a", operations=str(file))
    got = {leaf.path: leaf.op for leaf in corpus.open(tmp_path / "c").runs[0].leaves}
    assert got == {
        "fc.bias": "bias",
        "fc.weight": "fc",
        "layer1.0.bn1.bias": "other",
        "layer1.0.bn1.weight": "other",
        "layer1.0.conv1.weight": "fc",
    }
    assert done.notes == [
        "left out, as they are no weights or operations says so: 1 arrays (wte.weight)"
    ]


def test_what_is_no_weight_is_left_out_and_said(tmp_path):
    more = {"bn.running_mean": np.ones(3, np.float32), "bn.num_batches_tracked": np.array(3)}
    folder = write(tmp_path / "in", range(3), make=lambda step: arrays(step) | more)
    done = import_checkpoints(str(folder), str(tmp_path / "c"), run="mine-7")
    check(tmp_path / "c", range(3))
    assert "bn.running_mean" in done.notes[0]


@pytest.mark.parametrize(
    "options", [{"sample": 3}, {"kind": "gram", "band": 2}], ids=["sample", "gram"]
)
def test_a_sample_or_inner_products_are_recorded(tmp_path, options):
    folder = write(tmp_path / "in", range(4))
    import_checkpoints(str(folder), str(tmp_path / "c"), run="a", **options)
    [got] = corpus.open(tmp_path / "c").runs
    inspection.verify(got)
    assert got.band == options.get("band")
    assert got.leaves[1].columns == options.get("sample", 8)


def refused(tmp_path, folder, said, **options):
    """The import is refused in one line, and leaves nothing behind."""
    with pytest.raises(nowcast.UserError, match=said) as caught:
        import_checkpoints(str(folder), str(tmp_path / "c"), **{"run": "a", **options})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


def with_(**changes):
    """Arrays that change at step 3."""

    def make(step):
        given = arrays(step) | (changes if step == 3 else {})
        return {name: array for name, array in given.items() if array is not None}

    return make


@pytest.mark.parametrize(
    ("steps", "options", "said"),
    [
        ([1, 2, 3, 4, 6, 7], {}, "5 is missing between 4 and 6"),
        ([0, 10, 20, 60, 70, 80], {}, "30, 40, 50 is missing"),
        ([1, 10, 20, 30], {}, "1 and 10 are 9 steps apart"),
        ([1], {}, "is one checkpoint"),
        ([], {}, "no checkpoint is there"),
        (
            range(6),
            {"make": with_(**{"fc.bias": np.ones(3)})},
            r"3\.npz fc\.bias has shape \(3,\), and \(2,\)",
        ),
        (range(6), {"make": with_(**{"fc.bias": None})}, r"3\.npz lacks fc\.bias"),
        (range(6), {"make": with_(more=np.ones(3))}, r"3\.npz has more"),
        (range(6), {"make": with_(**{"fc.bias": np.ones(2, int)})}, r"3\.npz fc\.bias holds int64"),
        (range(6), {"name": "part-{}-of-6.npz"}, "save each checkpoint as one file"),
        (range(6), {"make": lambda step: {"a": np.ones(3, int)}}, "every array is left out"),
        (range(6), {"save": lambda path, given: path.write_bytes(b"PKnonsense")}, "cannot be read"),
        (range(6), {"save": lambda path, given: path.write_bytes(b"")}, "is empty"),
        (
            range(6),
            {"save": lambda path, given: path.write_bytes(b"\0" * 9), "name": "{}.safetensors"},
            "cannot be read",
        ),
    ],
)
def test_a_series_that_is_none_is_refused(tmp_path, steps, options, said):
    refused(tmp_path, write(tmp_path / "in", steps, **options), said)


def test_a_file_that_is_damaged_in_the_middle_of_the_series_leaves_the_corpus_as_it_was(tmp_path):
    folder = write(tmp_path / "in", range(6))
    import_checkpoints(str(folder), str(tmp_path / "c"), run="first")
    before = sorted(str(file) for file in (tmp_path / "c").rglob("*"))
    content = (folder / "step_4.npz").read_bytes()
    (folder / "step_4.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(nowcast.UserError, match=r"step_4\.npz cannot be read"):
        import_checkpoints(str(folder), str(tmp_path / "c"), run="second")
    assert sorted(str(file) for file in (tmp_path / "c").rglob("*")) == before
    refused(tmp_path / "elsewhere", folder, "step_4")
    with pytest.raises(nowcast.UserError, match="holds a run of this name"):
        import_checkpoints(str(folder), str(tmp_path / "c"), run="first")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("'*.weight': linear", "'linear' of .* is not an operation"),
        ("'*.wait': fc", r"no array has a name like '\*\.wait'"),
        ("- fc", "must hold lines of"),
        ("a: [", "cannot be read"),
        (None, "cannot be read"),
        ("'*': null", "every array is left out"),
    ],
)
def test_a_file_of_operations_that_is_wrong_is_refused(tmp_path, content, said):
    if content:
        (tmp_path / "o.yaml").write_text(content)
    refused(tmp_path, write(tmp_path / "in", range(3)), said, operations=str(tmp_path / "o.yaml"))


def test_names_that_tell_no_order_are_refused(tmp_path):
    folder = write(tmp_path / "in", range(3), "a{}.npz")
    refused(tmp_path, folder, "prefix=net", prefix="net")
    np.savez(folder / "best.npz", **arrays(0))
    refused(tmp_path, folder, "differ in more than numbers")
    refused(tmp_path, tmp_path / "gone", "no such files")
    shutil.rmtree(folder)
    write(folder, [3, 4, 5], "e1.{0}_l0.{0}.npz")
    (folder / "e1.4_l0.4.npz").rename(folder / "e1.4_l0.9.npz")
    refused(tmp_path, folder, "several numbers that order them differently")


def test_the_command_imports_and_says_what_is_next(script, tmp_path):
    folder = write(
        tmp_path / "in", range(0, 40, 10), "step_{}.safetensors", KINDS["safetensors"][1]
    )
    given = f'checkpoints="{folder}/step_*.safetensors"', f"corpus={tmp_path / 'c'}", "run=mine-7"
    done = script("import_checkpoints", *given)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (
        lines[0]
        == "mine-7: 4 snapshots, 10 steps apart; leaves: 1 conv, 1 fc, 1 bias, 2 norm, 1 embedding"
    )
    assert lines[-2:] == [
        f"corpus: {tmp_path / 'c'}",
        f"next: python scripts/inspect_corpus.py corpus={tmp_path / 'c'}",
    ]
    check(tmp_path / "c", range(0, 40, 10))
    again = script("import_checkpoints", *given)
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith("error: run=mine-7")
    missing = script("import_checkpoints", "run=a", f"corpus={tmp_path / 'd'}")
    assert (missing.returncode, "checkpoints is missing" in missing.stderr) == (2, True)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("typed", "task"),
    [("task=foo", "foo"), ("task=gpt", "gpt"), ("task=2024_01", "2024_01"), ("task=null", "mine")],
)
def test_the_command_takes_a_task_as_a_text(script, tmp_path, typed, task):
    folder = write(tmp_path / "in", range(3))
    given = f"checkpoints={folder}", f"corpus={tmp_path / 'c'}", "run=mine-7", typed
    done = script("import_checkpoints", *given)
    assert done.returncode == 0, done.stderr
    [got] = corpus.open(tmp_path / "c").runs
    assert got.config["task"] == task
    assert " task=" in got.info["command"].replace("'", " ")


def test_the_command_has_the_launchers_of_the_others(script, tmp_path):
    show = ["hydra/launcher=joblib", "corpus=mine", "--cfg", "hydra", "-p", "hydra.launcher"]
    shown = [
        script(*command.split(), *show, cwd=tmp_path)
        for command in ("collect", "import_checkpoints checkpoints=in run=mine")
    ]
    assert [done.returncode for done in shown] == [0, 0], shown
    assert shown[0].stdout == shown[1].stdout
    assert "auto" not in shown[0].stdout  # which is the plugin's batch_size


def test_the_command_takes_several_tasks_as_jobs(script, tmp_path):
    folder = write(tmp_path / "in", range(3))
    done = script(
        "import_checkpoints",
        "-m",
        f"checkpoints={folder}",
        f"corpus={tmp_path}/${{task}}",
        "run=mine-7",
        "task=one,two",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for task in ("one", "two"):
        assert corpus.open(tmp_path / task).runs[0].config["task"] == task
