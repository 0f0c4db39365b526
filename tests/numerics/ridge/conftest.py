"""Fits of the tests take no time to measure the machine."""

import pytest


@pytest.fixture(autouse=True)
def known_rate(monkeypatch):
    """Do 10⁹ operations a second, whatever the machine."""
    monkeypatch.setattr("brainpred.numerics.ridge.plan.multiplication_rate", lambda device, dtype: 1e9)
