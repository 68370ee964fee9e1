"""``python -m hkdsr`` is the command ``hkdsr``."""

from hkdsr.cli.main import main

if __name__ == "__main__":
    main()
