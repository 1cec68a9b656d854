"""Entry point of ``python -m preprocess``."""

from preprocess.cli import main

if __name__ == "__main__":
    main(prog_name="python -m preprocess")
