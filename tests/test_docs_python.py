"""What the pages say to type in Python works, on the small subject."""

import re
import textwrap
from pathlib import Path

import numpy as np

import brainpred

PAGE = Path(__file__).parents[1] / "docs" / "first_decode.rst"


def python_blocks():
    found = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE.read_text())
    return [textwrap.dedent(block) for block in found]


def test_first_decode_in_python_step_by_step(tiny_data, monkeypatch, capsys):
    monkeypatch.setenv("BRAINPRED_DATA", str(tiny_data))
    block = next(block for block in python_blocks() if "BrainDecoder" in block)
    names = {}
    exec(compile(block, str(PAGE), "exec"), names)
    assert np.isfinite(float(capsys.readouterr().out.split("=")[-1]))
    assert names["restored"].shape == names["r3"].shape == (11, 3840)
    assert np.isfinite(names["restored"]).all()


def test_names_of_the_page_are_public():
    used = {name for block in python_blocks() for name in re.findall(r"\bbp\.(\w+)", block)}
    assert {"decode_subject", "encode_subject", "load_result"} <= used <= set(brainpred.__all__)
