"""Measurements, run on demand: `make bench`. Ratios in one run hold; absolute figures are those of one machine."""
