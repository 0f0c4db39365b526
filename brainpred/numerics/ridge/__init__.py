"""Banded ridge regression with delays."""
