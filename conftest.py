"""What pytest leaves out at the root of the tree."""

import importlib.util

# The examples in the docstrings of the training modules need torch; tests/unit/train counts that skip.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["src/lutkan/train/*"]
