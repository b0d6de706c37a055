"""Image registration."""
