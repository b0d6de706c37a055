"""The label of voxels that do not count."""

IGNORED = 255  # no loss and no metric counts a voxel with this label, and reports draw it as unlabelled
