"""Data sets and folder layouts: where cases come from."""
