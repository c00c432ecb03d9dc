"""``python -m pushd`` is ``pushctl``."""

from pushd.cli import main

if __name__ == "__main__":
    main()
