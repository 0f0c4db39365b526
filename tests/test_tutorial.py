"""The Python of the tutorial runs as it stands there."""

import re
import textwrap
from pathlib import Path

import numpy as np

import brainpred
from brainpred.recordings.readers import load_recording

PAGE = Path(__file__).parent.parent / "docs" / "first_decode.rst"


def test_one_layer_step_by_step(tiny_data, monkeypatch, capsys):
    recording = load_recording("simulated", "sim01", tiny_data)
    monkeypatch.setattr(brainpred, "simulate_subject", lambda subject: recording, raising=False)
    block = re.search(
        r"Step by step, for one layer:\n\n\.\. code-block:: python\n\n(.*?)\n\n\S", PAGE.read_text(), re.S
    )
    names = {}
    exec(compile(textwrap.dedent(block[1]), str(PAGE), "exec"), names)
    assert re.search(r"mean r = -?0\.\d{3}", capsys.readouterr().out)
    assert names["restored"].shape == names["r0"].shape
    assert np.isfinite(names["restored"]).all()
