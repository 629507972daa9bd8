"""Arms: lutkan's own runtimes and what they are compared with.

The rivals are written anew from the published formulas, without the libraries' module classes around them, so that a
rival is never slower here than its library, and sometimes a little faster. Each keeps what makes its library fast or
slow: the same basis, the same intermediate tensors, the same memory layout. Every arm knows the float64 meaning of its
own model, so that nobody times a wrong function.
"""

from lutkan.lab.arms.contender import Contender, Skipped, errors

__all__ = ["Contender", "Skipped", "errors"]
