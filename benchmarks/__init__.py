"""Measurements, given as ratios within one run: absolute times on a shared machine cannot be compared."""
