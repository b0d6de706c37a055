"""Which results are shown where: the tables of the results page, the table of the README, and what is not measured."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of recipes on one data set.

    Attributes:
      family: folder of `medjax/tasks`; tables of a family stand together.
      recipes: the rows.
      columns: metrics by the heading of their column, as keys of `results.json`.
      baselines: further rows: for each method that the runs themselves measured the key of a metric of it, where `{}`
        stands for the metric.
      splits: splits that are rows of their own; where there are several, a column names them.
    """

    family: str
    recipes: Sequence[str]
    columns: Mapping[str, str]
    baselines: Mapping[str, str] = dataclasses.field(default_factory=dict)
    splits: Sequence[str] = ('test',)


SURVIVAL = ('', '_cox', '_cox_time', '_hazard', '_deephit')
CELLS = {'AP50': 'ap50', 'Red cells': 'ap50_RBC', 'White cells': 'ap50_WBC', 'Platelets': 'ap50_Platelets', 'AP': 'ap'}
FORECASTS = {'carried forward': '{}_carried', 'ridge regression': '{}_ridge', 'logistic regression': '{}_logistic'}
GROWTH = {'Dice': 'dice', 'Gain on Gompertz': 'gain_dice_gompertz', 'Volume error (%)': 'volume_error',
          'Gain on Gompertz (%)': 'gain_volume_gompertz', 'AUROC of sites': 'auroc_sites'}
REGISTRATION = {'TRE (mm)': 'tre', 'Dice': 'dice', 'Local correlation': 'ncc', 'Folded (%)': 'folded',
                'Seconds a pair': 'seconds'}
UNREGISTERED = {'before registration': '{}_none', 'affine': '{}_affine', 'B-splines (SimpleITK)': '{}_bspline'}

TABLES = (
    Table('segmentation', ('segment_brain_unet2d', 'segment_brain_unet3d'),
          {'Dice, grey matter': 'dice_grey', 'White matter': 'dice_white', 'CSF': 'dice_csf'},
          splits=('test', 'unseen')),
    Table('segmentation', ('segment_tumour_unet3d',), {'Dice, tumour': 'dice_tumour'}, splits=('test', 'train')),
    Table('signals', ('segment_ecg_unet1d', 'segment_ecg_unet1d_rnn'), {'F1 of beats': 'f1'},
          {'Pan–Tompkins detector': 'detector_{}'}, ('test', 'test_real')),
    Table('classification', ('classify_pneumonia_logistic', 'classify_pneumonia_resnet18', 'classify_pneumonia_best'),
          {'AUROC': 'auroc', 'Accuracy': 'accuracy'}),
    Table('classification', ('few_labels', 'few_labels_scratch', 'few_labels_mae', 'few_labels_mae_scratch'),
          {'AUROC': 'auroc'}),
    Table('classification', tuple(f'utility_{size}_{arm}' for size in ('50', '200', 'all')
                                  for arm in ('real', 'augmented', 'synthetic', 'both')),
          {'AUROC': 'auroc', 'Balanced accuracy': 'balanced_accuracy'}),
    Table('detection', ('detect_bccd_faster_rcnn', 'detect_bccd_retinanet', 'detect_bccd_faster_rcnn_fast',
                        'detect_bccd_faster_rcnn_rcnn'), CELLS),
    Table('detection', ('detect_lesion3d_retinanet',),
          {'AP10': 'ap10', 'AP50': 'ap50', 'CPM': 'cpm', 'Sensitivity, small lesions': 'sensitivity_small'}),
    Table('detection', ('detect_nuclei_retinanet',), {'AP50': 'ap50', 'AP': 'ap'}),
    Table('detection', ('detect_polyp_faster_rcnn_simulated',), {'AP50': 'ap50', 'AP': 'ap', 'CPM': 'cpm'}),
    Table('survival', tuple(f'survive_metabric_deepsurv{end}' for end in SURVIVAL), {'C-index': 'c_index'}),
    Table('survival', tuple(f'survive_gbsg_deepsurv{end}' for end in SURVIVAL),
          {'C-index': 'c_index', 'C-index, mean of the seeds': 'c_index_ensemble'}),
    Table('survival', ('survive_pbc_sequence', 'survive_pbc_sequence_transformer', 'survive_pbc_sequence_cox'),
          {'C-index': 'c_index', 'Integrated Brier score': 'ibs'}, splits=('test_at_1', 'test_at_3', 'test_at_5')),
    Table('forecasting', ('forecast_framingham_sequence',),
          {'MASE': 'mase', 'Gain on ridge': 'mase_gain', 'R² of cholesterol': 'r2_TOTCHOL',
           'AUROC, death in 6 years': 'auroc', 'AUPRC': 'auprc'}, FORECASTS),
    Table('forecasting', ('forecast_pbc_sequence',),
          {'MASE': 'mase', 'Gain on ridge': 'mase_gain', 'AUROC, death in 2 years': 'auroc'}, FORECASTS),
    Table('growth', ('grow_brain_unet',), GROWTH,
          {'no change': '{}_same', 'Gompertz law': '{}_gompertz', 'fitted simulation': '{}_fisher',
           "simulation's own chance": '{}_simulation'}),
    Table('growth', ('grow_brain_unet_convlstm',), GROWTH),
    Table('treatment', ('treat_ihdp_tarnet', 'treat_ihdp_tarnet_cfr'), {'√PEHE': 'pehe', 'ATE error': 'ate_error'},
          {'least squares': '{}_ols', 'least squares by group': '{}_ols_by_group',
           'boosted trees by group': '{}_trees'}, ('test', 'within')),
    Table('treatment', ('treat_actg_tlearner',),
          {'Mean effect (CD4 cells)': 'ate', 'Doubly robust': 'ate_doubly_robust',
           'Difference of group means': 'difference'}),
    Table('regression', ('regress_solubility_mpnn', 'regress_solubility_mpnn_described', 'regress_solubility_mpnn_gru',
                         'regress_solubility_mpnn_transformer'),
          {'R²': 'r2', 'R², mean of the seeds': 'r2_ensemble', 'RMSE (log mol/l)': 'rmse'},
          {'boosted trees on fingerprints': '{}_trees', 'boosted trees with descriptors': '{}_trees_described'}),
    Table('anomaly', ('anomaly_pneumonia_unet',),
          {'AUROC': 'auroc', 'Sensitivity': 'sensitivity', 'Specificity': 'specificity'},
          {'low contrast': '{}_contrast'}),
    Table('anomaly', ('reconstruct_pneumonia_vae', 'reconstruct_pneumonia_vae_plain',
                      'reconstruct_pneumonia_vae_denoising', 'reconstruct_pneumonia_vae_vq'),
          {'AUROC': 'auroc', 'AUROC of the error': 'auroc_error', 'AUROC of the restoration': 'auroc_restored'},
          {'low contrast': '{}_contrast', '8 principal components': '{}_pca'}),
    Table('anomaly', ('anomaly_brain_unet', 'anomaly_brain_unet_vae'),
          {'Voxel AUPRC': 'voxel_auprc', 'Dice at the threshold': 'voxel_dice', 'Best Dice': 'voxel_dice_best',
           'AUROC of slices': 'auroc', 'AUROC of the error': 'auroc_error'},
          {'distance from the mean slice': '{}_baseline', '8 principal components': '{}_pca'}),
    Table('synthesis', ('diffuse_pneumonia', 'diffuse_pneumonia_flow', 'diffuse_pneumonia_latent', 'gan_pneumonia',
                        'gan_pneumonia_wgan', 'gan_pneumonia_style'),
          {'FID of pixels': 'fid_pixels', 'FID of a classifier': 'fid', 'Recall': 'recall', 'Copies': 'copies',
           'Label kept': 'label_kept'},
          {'training images': '{}_train', 'validation images': '{}_val', 'test images': '{}_real'}),
    Table('translation', ('translate_brain_pix2pix', 'translate_brain_pix2pix_l1', 'translate_brain_pix2pix_cyclegan'),
          {'PSNR (dB)': 'psnr', 'SSIM': 'ssim'}, {'lookup table': '{}_lookup', 'linear regression': '{}_linear'}),
    Table('registration', ('register_brain_voxelmorph', 'register_brain_voxelmorph_refined',
                           'register_brain_voxelmorph_instance'), REGISTRATION, UNREGISTERED),
    Table('registration', ('register_brain_voxelmorph_volume',), REGISTRATION, UNREGISTERED),
    Table('registration', ('register_brain_voxelmorph_people',), REGISTRATION, UNREGISTERED),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the README's table.

    Attributes:
      recipe: whose result it is.
      metric: heading and key of the result.
      baseline: name and key of what stands beside it; the key is of the same file, or 'external'.
      split: of both.
    """

    recipe: str
    metric: tuple[str, str]
    baseline: tuple[str, str] | None = None
    split: str = 'test'


README = (
    Row('segment_brain_unet2d', ('Dice, grey matter', 'dice_grey'), ('two intensity thresholds', 'external')),
    Row('segment_ecg_unet1d', ('F1 of beats', 'f1'), ('Pan–Tompkins detector', 'detector_f1')),
    Row('classify_pneumonia_best', ('AUROC', 'auroc'), ('ResNet-18, MedMNIST', 'external')),
    Row('detect_bccd_faster_rcnn', ('AP50', 'ap50')),
    Row('survive_metabric_deepsurv', ('C-index', 'c_index'), ('Cox (lifelines)', 'external')),
    Row('forecast_framingham_sequence', ('MASE', 'mase'), ('ridge regression', 'mase_ridge')),
    Row('grow_brain_unet', ('Dice of the next mask', 'dice'), ('Gompertz law', 'dice_gompertz')),
    Row('treat_ihdp_tarnet', ('√PEHE', 'pehe'), ('boosted trees by group', 'pehe_trees')),
    Row('regress_solubility_mpnn_described', ('R²', 'r2'), ('boosted trees', 'r2_trees_described')),
    Row('anomaly_pneumonia_unet', ('AUROC', 'auroc'), ('low contrast', 'auroc_contrast')),
    Row('diffuse_pneumonia', ('FID of pixels', 'fid_pixels'), ('training images', 'fid_pixels_train')),
    Row('translate_brain_pix2pix', ('PSNR (dB)', 'psnr'), ('lookup table', 'psnr_lookup')),
    Row('register_brain_voxelmorph_instance', ('TRE (mm)', 'tre'), ('B-splines, 8 pairs', 'tre_bspline')),
)

# Configs without a result, and why.
OWN_IMAGES = 'It needs a folder of images for each class, and was tried on simulated images only.'
NOT_MEASURED = {
    'configs/segment_lung_unet2d.py': 'It needs CT slices with masks, and was tried on the slices of one CT only.',
    'configs/classify_lung_cnn.py': OWN_IMAGES,
    'configs/classify_cancer_cnn.py': OWN_IMAGES,
    'configs/classify_folder_cnn.py': OWN_IMAGES,
    'configs/classify_28px_cnn.py': 'It needs MNIST of TensorFlow Datasets, and was tried on simulated images only.',
    'configs/survive_images_resnet.py': 'It needs images beside records, and was tried on simulated ones only.',
    'configs/segment_lgg_unet2d.py': 'Its five folds have not been run yet.',
    'configs/pretrain_pneumonia.py': 'Its weights are measured by `few_labels` and `diffuse_pneumonia_latent`.',
}
