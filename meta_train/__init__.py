"""Fit forecasters to a corpus."""
