"""`python -m lutkan` is the `lutkan` command."""

from lutkan.cli import main

if __name__ == "__main__":
    main()
