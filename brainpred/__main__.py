"""Run the command line with ``python -m brainpred``."""

from brainpred.cli.main import run

run()
