"""File formats: medical images, 2D images, DICOM, video and tables; geometry and interpolation."""
