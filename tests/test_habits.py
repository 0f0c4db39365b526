"""The habits that tools can check: format, lint, types, import contracts, no global random numbers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "brainpred").rglob("*.py"))


@pytest.mark.parametrize(
    "command",
    [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"], ["lint-imports"]],
    ids=lambda command: " ".join(command[:2]),
)
def test_tool_finds_nothing(command):
    program = Path(sys.executable).with_name(command[0])
    answer = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_says_its_purpose_is_short_and_draws_from_a_generator(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module begins with one line of purpose"
    assert len(text.splitlines()) <= 450
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"}:
            assert node.attr in {"default_rng", "Generator"}, f"global random numbers: {ast.unparse(node)}"


def test_every_public_name_can_be_imported():
    import brainpred

    for name in brainpred.__all__:
        assert getattr(brainpred, name).__doc__
    with pytest.raises(AttributeError, match="decode_subject"):
        _ = brainpred.no_such_name


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmark_can_be_asked_for_help(path):
    """Benchmarks take too long to run, but what they import must be there."""
    if path.name in ("ridge_data.py", "plain_prednet.py", "plain_aligndraw.py"):
        pytest.skip("imported by others")
    answer = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "usage" in answer.stdout
