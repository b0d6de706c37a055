"""Many trainings of a config: over settings, seeds and folds, or as a search for the best setting."""
