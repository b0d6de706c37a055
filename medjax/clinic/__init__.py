"""DICOM objects of predictions."""
