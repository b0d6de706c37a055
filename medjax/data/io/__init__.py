"""File formats: medical images, pictures, DICOM, video and tables."""
