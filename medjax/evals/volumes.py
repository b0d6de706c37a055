"""Evaluates segmentation case by case: whole volumes by sliding windows, measured on the grid they were stored on."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.data.nifti import Image, canonical, restore, spacing
from medjax.data.volumes import Prepared, Volumes, flat_axis
from medjax.evals import masks
from medjax.ops import windows
