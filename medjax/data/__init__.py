"""Sources of cases, the pipeline that batches them, and augmentation on the device."""
