"""``python -m engine`` is the program ``maskdino``."""

from engine.cli import main

if __name__ == "__main__":
    main()
