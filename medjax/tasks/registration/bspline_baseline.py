"""Conventional registration by SimpleITK, as a baseline: affine, then free-form deformation by B-splines."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

BINS, SAMPLED_SHARE, SEED = 32, 0.2, 1
SHRINK, SMOOTH = (4, 2, 1), (2, 1, 0)  # of the levels, voxels


def register(fixed: np.ndarray, moving: np.ndarray, spacing: Sequence[float], *, metric: str = 'ncc', steps: int = 20,
             every: float = 12.0, threads: int = 1) -> np.ndarray:
    """The displacement field that registers a moving image to a fixed one.

    With one thread, equal images give equal fields. Several threads add their parts of the metric in the order in which
    they end, so that the field differs from call to call.

    Args:
      fixed: `[*S]` float32.
      moving: `[*S]` float32.
      spacing: voxel size, mm.
      metric: 'ncc', the correlation in windows of 9 voxels, or 'mattes', mutual information of all voxels in 2D and of
        a fifth of them in 3D, which is faster and, for images of one contrast, less accurate.
      steps: of the optimiser (gradient descent with line search) at each level; the affine map has at most 200.
      every: mm between the control points of the finest of three grids, each twice as fine as the previous one.
      threads: number of threads of SimpleITK.

    Returns:
      Displacements `[D, *S]` float32 in voxels: x of the fixed image is at x + u(x) in the moving one.

    Raises:
      RuntimeError: by SimpleITK, where the images have nothing in common, such as an image without contrast.
    """
    images = [sitk.GetImageFromArray(np.ascontiguousarray(image.T, np.float32)) for image in (fixed, moving)]
    for image in images:
        image.SetSpacing([float(mm) for mm in spacing])
    # Not the registration's own number: its metric takes the global one.
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    try:
        return _register(images, spacing, metric, steps, every)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _register(images: Sequence[sitk.Image], spacing: Sequence[float], metric: str, steps: int,
              every: float) -> np.ndarray:
    """See `register`."""
    shape = images[0].GetSize()
    affine = _register_affine(images, len(shape))
    coarse = [max(round((n - 1) * mm / every / 4), 1) for n, mm in zip(shape, spacing)]
    spline = sitk.BSplineTransformInitializer(images[0], coarse, 3)
    method = _method(metric, len(shape))
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=[1, 2, 4])
    # With this metric L-BFGS stops early or folds, and plain gradient descent folds.
    method.SetOptimizerAsGradientDescentLineSearch(5.0, steps, 1e-5, 5)
    transform = sitk.CompositeTransform([affine, method.Execute(*images)])
    field = sitk.GetArrayFromImage(sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, images[0].GetSize(), images[0].GetOrigin(), images[0].GetSpacing(),
        images[0].GetDirection()))
    scale = np.array(spacing).reshape(-1, *[1] * len(shape))
    return (field.T / scale).astype(np.float32)


def _register_affine(images: Sequence[sitk.Image], dims: int) -> sitk.Transform:
    """The affine map from the fixed to the moving image, by mutual information."""
    transform = sitk.CenteredTransformInitializer(*images, sitk.AffineTransform(dims),
                                                  sitk.CenteredTransformInitializerFilter.MOMENTS)
    method = _method('mattes', dims)
    method.SetInitialTransform(transform, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(0.2, 1e-4, 200, gradientMagnitudeTolerance=1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.Execute(*images)
    return transform


def _method(metric: str, dims: int) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    if metric == 'ncc':
        method.SetMetricAsANTSNeighborhoodCorrelation(4)
    else:
        method.SetMetricAsMattesMutualInformation(BINS)
        if dims == 3:
            method.SetMetricSamplingStrategy(method.REGULAR)
            method.SetMetricSamplingPercentage(SAMPLED_SHARE, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel([float(s) for s in SMOOTH])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method
