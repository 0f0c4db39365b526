"""Fixtures that many tests share: one thread, folders of their own, a tiny subject and network."""

import pytest
import torch

from brainpred.cli.main import main
from brainpred.studies.simulate import SimulationConfig, simulate_subject

# Two workers on two cores: more threads would only wait for each other.
torch.set_num_threads(1)

TINY = SimulationConfig(n_train_runs=3, run_s=11, n_test_repeats=2, n_voxels=419, resolution_mm=8, strength=4.0)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Make a data folder with a small simulated subject, sim01; tests read it and do not change it."""
    folder = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("BRAINPRED_CACHE", str(tmp_path_factory.mktemp("cache")))
    simulate_subject("sim01", TINY, data=folder)
    yield folder
    patch.undo()


@pytest.fixture
def run(capsys):
    """Run a command line; give its exit code, output and errors."""

    def run_command(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


@pytest.fixture(scope="session")
def decoded(tiny_data, tmp_path_factory):
    """Decode the small subject into a folder; tests read it and do not change it."""
    out = tmp_path_factory.mktemp("decoded")
    assert main(["decode", "--subject", "sim01", "--data", str(tiny_data), "--out", str(out), "--quiet"]) == 0
    return out
