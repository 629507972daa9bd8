"""Checkpoint files that cannot be read: each is refused with one short message, without the text of torch."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

from lutkan.adapters import import_model
from lutkan.adapters.checkpoint import read_checkpoint
from lutkan.errors import ImportModelError


def refusal(path) -> str:
    with pytest.raises(ImportModelError) as error:
        import_model(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "torch.save(model.state_dict(), path)" in message
    assert "\x1b" not in message and "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs torch")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["module", "in a dict"])
def test_a_pickled_module_is_no_state_dict(torch, tmp_path, zipped, wrapped):
    model = torch.nn.Linear(3, 2)
    what = {"model": model, "epoch": 3} if wrapped else model
    torch.save(what, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    message = refusal(tmp_path / "m.pt")
    assert "not a state_dict: it holds a pickled torch.nn.modules.linear.Linear" in message
    assert "save model.state_dict() instead" in message


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_the_state_dict_of_a_training_checkpoint(torch, tmp_path, key):
    state = {"weight": torch.ones(4, 5)}
    torch.save({"epoch": 3, "optimizer": {"state": {}}, key: state}, tmp_path / "m.pt")
    assert list(read_checkpoint(tmp_path / "m.pt").tensors) == ["weight"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_damaged_torch_file(torch, tmp_path, zipped):
    path = tmp_path / "m.pt"
    torch.save({"weight": torch.ones(40, 5)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in (1, 2, 9, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:size])
        assert "damaged, or not written by torch.save" in refusal(path)


def test_torch_files_with_bytes_changed_are_read_or_refused(torch, tmp_path):
    path = tmp_path / "m.pt"
    torch.save({"weight": torch.ones(4, 5)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(300):
        changed = np.frombuffer(whole, np.uint8).copy()
        changed[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(changed.tobytes())
        try:
            read_checkpoint(path)
        except ImportModelError:
            refused += 1
    assert refused > 100


def test_an_empty_file(torch, tmp_path):
    (tmp_path / "m.pt").touch()
    assert "is empty, 0 bytes" in refusal(tmp_path / "m.pt")


def test_a_file_of_something_else(torch, tmp_path):
    path = tmp_path / "m.pth"
    path.write_text("hello\n" * 20)
    assert "damaged, or not written by torch.save" in refusal(path)
    path.write_bytes(pickle.dumps({"weight": [1.0]}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "damaged, or not written by torch.save" in refusal(path)
    torch.save([1, 2], path)
    assert "holds a list, not a state_dict" in refusal(path)


@pytest.mark.parametrize("name", ["folder", "folder.pt", "folder.safetensors"])
def test_a_folder_is_not_a_missing_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(
        ImportModelError, match=r"is a folder; allowed: a \.safetensors, \.pt or \.pth file.*the file in it"
    ):
        import_model(tmp_path / name)
