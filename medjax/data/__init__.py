"""Data: sources of cases, data sets that batch them, file formats, and augmentation on the device."""
