"""The response is SPM's, and its matrix convolves."""

import numpy as np
import pytest
from nilearn.glm.first_level import spm_hrf

from brainpred.errors import ConfigError
from brainpred.numerics.haemodynamics import canonical_response, convolution_matrix


@pytest.mark.parametrize("tr_s", [0.7, 1.0, 2.5])
def test_response_is_that_of_nilearn(tr_s):
    response = canonical_response(tr_s)
    fine = spm_hrf(1.0, oversampling=100, time_length=32.0)
    reference = fine[np.round(np.arange(0, 31.5, tr_s) * 100).astype(int)]
    reference /= reference.sum()
    np.testing.assert_allclose(response[: len(reference)], reference, atol=0.005 * reference.max())
    assert response.sum() == pytest.approx(1)


def test_response_needs_a_repetition_time():
    with pytest.raises(ConfigError, match="tr_s"):
        canonical_response(0.0)


@pytest.mark.parametrize("n_scans", [5, 47])
def test_matrix_convolves(n_scans):
    response = canonical_response(2.0)
    course = np.random.default_rng(4).standard_normal(n_scans)
    np.testing.assert_allclose(
        convolution_matrix(response, n_scans) @ course, np.convolve(course, response)[:n_scans], atol=1e-12
    )
