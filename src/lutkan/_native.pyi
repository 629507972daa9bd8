"""The compiled kernels (native/binding.cpp); absent in a pure-Python install."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def available() -> list[str]: ...

class Network:
    def __init__(self, n_in: int, n_out: int, ops: list[dict[str, Any]], isa: str) -> None: ...
    def run(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> int: ...
    @property
    def isa(self) -> str: ...
