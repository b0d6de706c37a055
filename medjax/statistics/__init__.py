"""Statistics of tables of numbers: bootstrap, intervals, calibration, comparison of curves."""
