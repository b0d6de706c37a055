"""Registration by SimpleITK, as most people would do it: affine, then free-form deformation by B-splines."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from medjax.machine import cores

BINS, SHARE, SEED = 32, 0.2, 1
SHRINK, SMOOTH = (4, 2, 1), (2, 1, 0)  # of the levels, in voxels
METRICS = ('mattes', 'ncc')


def register(fixed: np.ndarray, moving: np.ndarray, spacing: Sequence[float], *, metric: str = 'ncc', steps: int = 20,
             every: float = 12.0) -> np.ndarray:
    """Brings a moving image onto a fixed one.

    Args:
      fixed: `[*S]` float32.
      moving: `[*S]` float32.
      spacing: mm of a voxel.
      metric: 'ncc', the correlation in windows of 9 voxels, or 'mattes', mutual information of all voxels in two
        dimensions and of a fifth of them in three, which is quicker and, of one contrast, less exact.
      steps: of the optimiser (gradient descent with a line search) at each level; of the affine map 200 at most.
      every: mm between control points of the finest of three grids, each twice as fine as the one before.

    Returns:
      Displacements `[D, *S]` float32, voxels: x of the fixed image is at x + u(x) in the moving one.

    Raises:
      RuntimeError: of SimpleITK, where the images have nothing in common, such as no contrast at all.
    """
    images = [sitk.GetImageFromArray(np.ascontiguousarray(image.T, np.float32)) for image in (fixed, moving)]
    for image in images:
        image.SetSpacing([float(mm) for mm in spacing])
    dims = fixed.ndim
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(cores())
    start = sitk.CenteredTransformInitializer(*images, sitk.AffineTransform(dims),
                                              sitk.CenteredTransformInitializerFilter.MOMENTS)
    affine = _method('mattes', dims)
    affine.SetInitialTransform(start, inPlace=True)
    affine.SetOptimizerAsRegularStepGradientDescent(0.2, 1e-4, 200, gradientMagnitudeTolerance=1e-8)
    affine.SetOptimizerScalesFromPhysicalShift()
    affine.Execute(*images)
    coarse = [max(round((n - 1) * mm / every / 4), 1) for n, mm in zip(fixed.shape, spacing)]
    spline = sitk.BSplineTransformInitializer(images[0], coarse, 3)
    free = _method(metric, dims)
    free.SetMovingInitialTransform(start)
    free.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=[1, 2, 4])
    # Of what was tried: L-BFGS ends early with this metric, or folds; plain descent folds.
    free.SetOptimizerAsGradientDescentLineSearch(5.0, steps, 1e-5, 5)
    found = free.Execute(*images)
    both = sitk.CompositeTransform([start, found])
    field = sitk.GetArrayFromImage(sitk.TransformToDisplacementField(
        both, sitk.sitkVectorFloat64, images[0].GetSize(), images[0].GetOrigin(), images[0].GetSpacing(),
        images[0].GetDirection()))
    scale = np.array(spacing).reshape(-1, *[1] * dims)
    return (field.T / scale).astype(np.float32)


def _method(metric: str, dims: int) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    if metric == 'ncc':
        method.SetMetricAsANTSNeighborhoodCorrelation(4)
    else:
        method.SetMetricAsMattesMutualInformation(BINS)
        if dims == 3:
            method.SetMetricSamplingStrategy(method.REGULAR)
            method.SetMetricSamplingPercentage(SHARE, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel([float(s) for s in SMOOTH])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method
