"""Sources of initial weights: one module for each kind of file."""
