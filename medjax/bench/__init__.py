"""Side-by-side measurements against other libraries: `python -m medjax.bench`."""
