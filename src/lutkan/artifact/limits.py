"""Limits of the artifact container. `pack` and `unpack` enforce the same numbers; docs/spec/artifact.md lists them."""

from __future__ import annotations

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_JSON_DEPTH",
    "MAX_JSON_INT",
    "MAX_JSON_NODES",
    "MAX_MANIFEST_BYTES",
    "MAX_MEMBERS",
    "MAX_NAME_CHARS",
    "MAX_NDIM",
    "MIN_JSON_INT",
]

MAX_FILE_BYTES = 2**31
"""Bytes of a whole file (2 GiB): every ZIP field then fits 32 bits, so zip64 never appears."""

MAX_MEMBERS = 4096
"""ZIP members, `manifest.json` included."""

MAX_MANIFEST_BYTES = 16 * 2**20
"""Bytes of `manifest.json`."""

MAX_NAME_CHARS = 100
"""Characters of an array name, without the `.npy` of its member."""

MAX_NDIM = 4
"""Dimensions of an array."""

MAX_JSON_DEPTH = 32
"""Objects and lists inside one another in the manifest; the manifest itself is the first."""

MAX_JSON_NODES = 200_000
"""Values in the manifest: every object, list, string, number, true, false and null counts one; keys do not."""

MIN_JSON_INT = -(2**63)
"""Smallest integer in the manifest."""

MAX_JSON_INT = 2**63 - 1
"""Largest integer in the manifest."""
