"""Pure arrays: ridge regression, scores, ceilings, timing; no files, no models."""
