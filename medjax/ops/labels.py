"""Reserved labels of segmentation masks."""

IGNORED = 255  # voxels with this label are excluded from losses and metrics; reports draw them as unlabelled
