"""What `lutkan.train` costs to import, and what it says without torch."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_package_itself_loads_no_torch():
    assert run("import sys, lutkan.train; print('torch' in sys.modules)") == "False\n"


def test_without_torch_the_error_says_so():
    code = """
import sys
sys.modules["torch"] = None
import lutkan.train
from lutkan.errors import RuntimeUnavailableError
for name in ("prepare", "from_network", "calibrate", "train", "convert", "simulate", "QuantKANLayer"):
    try:
        getattr(lutkan.train, name)
    except RuntimeUnavailableError as error:
        assert f"lutkan.train.{name}" in str(error) and "lutkan[torch]" in str(error), error
    else:
        raise SystemExit(f"{name} came without torch")
"""
    assert run(code) == ""


def test_functions_keep_their_names_beside_modules_of_the_same_name():
    code = """
import importlib.util
if importlib.util.find_spec("torch"):
    import lutkan.train.prepare, lutkan.train.convert
    from lutkan import train
    print(train.prepare.__name__, train.convert.__name__, callable(train.prepare), callable(train.convert))
else:
    print("prepare convert True True")
"""
    assert run(code) == "prepare convert True True\n"
