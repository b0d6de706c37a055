"""Signal runs over folds and seeds merged into one result: means over patients of per-case metrics."""

from medjax.tasks.family import merge_means

merge = merge_means
