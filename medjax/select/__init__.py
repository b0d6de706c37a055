"""Active learning: which images to annotate next."""
