"""``python -m lgcoamix``."""

from lgcoamix.cli import main

if __name__ == "__main__":
    main(prog_name="python -m lgcoamix")
