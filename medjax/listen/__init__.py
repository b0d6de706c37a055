"""Studies of a DICOM archive: taken, predicted for, and answered."""
