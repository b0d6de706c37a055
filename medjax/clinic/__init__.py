"""DICOM objects of predictions, and their exchange with an archive over the network."""
