"""Data: sources of cases, data sets, batches, file formats, preprocessing and augmentation."""
