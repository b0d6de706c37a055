"""Statistics of tables of numbers: bootstrap, confidence intervals, calibration, comparison of ROC curves."""
