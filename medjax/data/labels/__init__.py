"""Labels in files that name what they label."""
