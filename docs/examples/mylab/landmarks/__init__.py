"""A family of your own in one folder: the position of a landmark in an image."""
