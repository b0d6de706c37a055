"""The viewer: the cases of a run in a browser, with reference, prediction and uncertainty over the images."""
