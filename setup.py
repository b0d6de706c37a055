"""Installs medjax; `constraints.txt` holds the versions that were tested."""

from setuptools import find_packages, setup

setup(
    name='medjax',
    version='0.1.0',
    description='Deep learning for medical images and records, in JAX',
    python_requires='>=3.11',
    packages=find_packages(include=['medjax', 'medjax.*']),
    package_data={'medjax.report': ['*.jinja']},
    entry_points={'console_scripts': ['medjax = medjax.__main__:main']},
    install_requires=[
        'absl-py', 'chex', 'flax>=0.12,<0.13', 'grain', 'jax>=0.10.2,<0.13', 'ml_collections', 'nibabel', 'numpy',
        'optax', 'orbax-checkpoint>=0.12,<1.0', 'scipy', 'tensorboardX', 'tensorflow-datasets',
        'pandas', 'SimpleITK', 'connected-components-3d', 'edt', 'faster-coco-eval', 'isal', 'jinja2', 'matplotlib', 'Pillow',
        'scikit-learn', 'tqdm',
    ],
    extras_require={
        'cuda': ['jax[cuda12]'],
        'demo': ['nilearn'],
        'molecules': ['rdkit'],
        'records': ['h5py'],
        'test': ['av', 'h5py', 'hypothesis', 'nilearn', 'pydicom', 'pytest', 'pytest-xdist', 'rdkit', 'ruff'],
        'video': ['av', 'pydicom'],
        'bench': ['batchgeneratorsv2', 'monai', 'scikit-image', 'surface-distance', 'torch==2.13.0', 'torchio'],
        'oracle': ['fairlearn', 'lifelines', 'monai', 'scikit-survival', 'surface-distance', 'torch==2.13.0'],
    },
)
