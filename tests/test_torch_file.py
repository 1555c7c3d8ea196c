"""Files of PyTorch are read without PyTorch, and nothing that they say is run."""

import collections
import os
import zipfile

import numpy as np
import pytest
from torch_files import torch_bytes

import nowcast
from nowcast.torch_file import read_tensors

SAVED = {
    "state_dict": collections.OrderedDict(
        weight=np.arange(6, dtype=np.float32).reshape(2, 3), steps=np.arange(3)
    ),
    "model_args": {"lpe": 8, "wide": False, "name": "x", "more": [1.5, None]},
}


def test_what_was_saved_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.pt").write_bytes(torch_bytes(SAVED, patch=monkeypatch))
    got = read_tensors(tmp_path / "a.pt")
    assert got["model_args"] == SAVED["model_args"]
    for name, value in SAVED["state_dict"].items():
        np.testing.assert_array_equal(got["state_dict"][name], value, strict=True)


def test_a_transposed_tensor_is_read_by_its_strides(tmp_path, monkeypatch):
    content = torch_bytes(
        SAVED["state_dict"]["weight"], patch=monkeypatch, shape=(3, 2), strides=(1, 3)
    )
    (tmp_path / "a.pt").write_bytes(content)
    np.testing.assert_array_equal(read_tensors(tmp_path / "a.pt"), [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize(
    ("saved", "named"),
    [(os.system, "posix.system"), (collections.Counter, "collections.Counter"), (print, "print")],
)
def test_what_is_no_tensor_is_refused_and_not_run(tmp_path, monkeypatch, saved, named):
    class Evil:
        def __reduce__(self):
            return saved, ("touch " + str(tmp_path / "done"),)

    (tmp_path / "a.pt").write_bytes(torch_bytes({"x": Evil()}, patch=monkeypatch))
    with pytest.raises(nowcast.UserError, match=rf"a.pt holds \S*{named}, which is not a tensor"):
        read_tensors(tmp_path / "a.pt")
    assert not (tmp_path / "done").exists()


BROKEN = {
    "past its numbers": ({"start": 5}, "needs more than its 6 numbers"),
    "negative": ({"start": -1}, "is damaged"),
    "strides": ({"strides": (1,)}, "is damaged"),
    "huge": ({"shape": (10**9, 10**9), "strides": (0, 0)}, "needs more"),
    "compressed": ({"compress": zipfile.ZIP_DEFLATED}, "it is compressed"),
    "no pickle": ({"drop": ("saved/data.pkl",)}, "holds no data.pkl"),
    "no numbers": ({"drop": ("saved/data/0",)}, "is damaged"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_damaged_is_refused_in_one_line(tmp_path, monkeypatch, what):
    changes, said = BROKEN[what]
    content = torch_bytes(SAVED["state_dict"]["weight"], patch=monkeypatch, **changes)
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(nowcast.UserError, match=said) as caught:
        read_tensors(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    assert "a.pt" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"PK\x03\x04 cut off"])
def test_what_is_no_file_of_pytorchs_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(nowcast.UserError, match=r"a.pt .*give a file that torch.save wrote"):
        read_tensors(tmp_path / "a.pt")


def test_a_pickle_cut_anywhere_is_refused_in_one_line(tmp_path, monkeypatch):
    content = torch_bytes(SAVED, patch=monkeypatch)
    with zipfile.ZipFile(__import__("io").BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    whole = members["saved/data.pkl"]
    for end in range(0, len(whole), 7):
        with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
            for name, value in (members | {"saved/data.pkl": whole[:end]}).items():
                file.writestr(name, value)
        with pytest.raises(nowcast.UserError):
            read_tensors(tmp_path / "a.pt")
