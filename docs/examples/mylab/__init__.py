"""A package of your own, anywhere on Python's path."""
