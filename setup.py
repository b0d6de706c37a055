"""Installs medjax; `constraints.txt` holds the versions that were tested."""

import pathlib

from setuptools import find_packages, setup

SERVE = ['fastapi', 'prometheus-client', 'python-multipart', 'uvicorn']

setup(
    name='medjax',
    version='0.2.0',
    description='Deep learning for medical images and records, in JAX',
    long_description=(pathlib.Path(__file__).parent / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='The medjax developers',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Healthcare Industry',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Processing',
        'Topic :: Scientific/Engineering :: Medical Science Apps.',
    ],
    python_requires='>=3.11',
    packages=find_packages(include=['medjax', 'medjax.*']),
    package_data={'medjax.report': ['*.jinja'], 'medjax.view': ['*.html', '*.js', '*.css']},
    entry_points={'console_scripts': ['medjax = medjax.__main__:main']},
    install_requires=[
        'absl-py', 'chex', 'flax>=0.12,<0.13', 'grain', 'jax>=0.10.2,<0.13', 'ml_collections', 'nibabel', 'numpy',
        'optax', 'orbax-checkpoint>=0.12,<1.0', 'scipy', 'tensorboardX', 'tensorflow-datasets',
        'pandas', 'SimpleITK', 'connected-components-3d', 'edt', 'faster-coco-eval', 'isal', 'jinja2', 'matplotlib',
        'Pillow>=11', 'pydicom>=3.0', 'scikit-learn', 'tqdm',
        'importlib_resources',  # imported by tensorflow-datasets, which does not declare it on Python 3.12
    ],
    extras_require={
        'bids': ['pybids'],
        'cuda': ['jax[cuda12]'],
        'demo': ['nilearn'],
        'dicom': ['dicomweb-client>=0.60', 'highdicom>=0.28,<0.29', 'pynetdicom>=3.0'],
        'docs': ['mkdocs-material', 'mkdocstrings[python]', 'ruff'],
        'export': ['flatbuffers'],
        'mlflow': ['mlflow-skinny>=3'],
        'molecules': ['rdkit'],
        'launch': ['submitit>=1.5'],
        'pretrained': ['safetensors'],
        'records': ['h5py'],
        'search': ['optuna>=4'],
        'serve': SERVE,
        'test': ['av', 'dcmqi', 'dicom3tools', 'dicomweb-client', 'flatbuffers', 'highdicom', 'h5py', 'httpx',
                 'hypothesis', 'nilearn', 'pynetdicom', 'pyright[nodejs]', 'pytest', 'pytest-xdist', 'rdkit', 'ruff',
                 'safetensors', *SERVE],
        'tpu': ['jax[tpu]'],
        'video': ['av>=14'],
        'wandb': ['wandb>=0.20'],
        'bench': ['batchgeneratorsv2', 'monai', 'scikit-image', 'surface-distance', 'torch==2.13.0', 'torchio'],
        'oracle': ['fairlearn', 'lifelines', 'monai', 'scikit-survival', 'surface-distance', 'torch==2.13.0'],
    },
)
