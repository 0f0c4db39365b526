"""Scans: manifests, readers, simulation."""
