"""The names of `lutkan` are what they are called, whatever was imported before them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lutkan


@pytest.mark.parametrize(
    "before",
    [
        "pass",
        "import lutkan.verify",
        "from lutkan.verify import VerifyReport",
        "from lutkan import api",
        "lutkan.compile",
    ],
)
def test_verify_is_the_function_and_not_the_folder_of_that_name(before):
    code = f"import lutkan\n{before}\nassert callable(lutkan.verify), lutkan.verify\nfrom lutkan.verify import verify"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_all_public_names_exist_and_no_function_is_a_module():
    for name in lutkan.__all__:
        assert type(getattr(lutkan, name)).__name__ != "module", name
