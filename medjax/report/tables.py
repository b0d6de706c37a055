"""Results in words and tables: names, units, directions and sensible rounding."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Entry = Mapping[str, Any]


class Metric(NamedTuple):
    """How a metric is written: name, unit ('' for a share of 1), and an arrow to where it is better."""

    name: str
    unit: str = ''
    arrow: str = ''


METRICS = {
    'dice': Metric('Dice', '', '↑'), 'iou': Metric('IoU', '', '↑'), 'nsd': Metric('NSD', '', '↑'),
    'sensitivity': Metric('Sensitivity', '', '↑'), 'precision': Metric('Precision', '', '↑'),
    'hd95': Metric('HD95', 'mm', '↓'), 'assd': Metric('ASSD', 'mm', '↓'),
    'volume_error_ml': Metric('Volume error', 'ml', '→ 0'), 'lesion_f1': Metric('Lesion F1', '', '↑'),
    'auroc': Metric('AUROC', '', '↑'), 'auprc': Metric('AUPRC', '', '↑'), 'accuracy': Metric('Accuracy', '', '↑'),
    'balanced_accuracy': Metric('Balanced accuracy', '', '↑'), 'specificity': Metric('Specificity', '', '↑'),
    'f1': Metric('F1', '', '↑'), 'f1_micro': Metric('F1, pooled', '', '↑'), 'mcc': Metric('MCC', '', '↑'),
    'kappa': Metric('Cohen\'s kappa', '', '↑'), 'kappa_weighted': Metric('Kappa, quadratic weights', '', '↑'),
    'brier': Metric('Brier score', '', '↓'), 'log_loss': Metric('Log loss', '', '↓'), 'ece': Metric('ECE', '', '↓'),
    'ece_adaptive': Metric('ECE, adaptive', '', '↓'),
    'ap': Metric('AP', '', '↑'), 'ar': Metric('Average recall', '', '↑'), 'cpm': Metric('CPM', '', '↑'),
    **{f'ap{iou}': Metric(f'AP{iou}', '', '↑') for iou in (10, 20, 30, 40, 50)},
    **{f'froc_{rate}': Metric(f'at {name} false positives an image', '', '↑') for rate, name in (
        ('0.125', '⅛'), ('0.25', '¼'), ('0.5', '½'), (1, '1'), (2, '2'), (4, '4'), (8, '8'))},
    'false_positives': Metric('False positives an image', '', '↓'),
    'c_index': Metric('C-index (Harrell)', '', '↑'), 'c_uno': Metric('C-index (Uno)', '', '↑'),
    'c_td': Metric('C-index (Antolini)', '', '↑'), 'ibs': Metric('IBS', '', '↓'), 'auc': Metric('AUC', '', '↑'),
    'pehe': Metric('√PEHE', '', '↓'), 'ate_error': Metric('ATE error', '', '↓'),
    'factual_rmse': Metric('Factual RMSE', '', '↓'), 'pehe_matched': Metric('√PEHE, matched', '', '↓'),
    'policy_value': Metric('Policy value', '', '↑'), 'qini': Metric('Qini', '', '↑'),
    'volume_error': Metric('Volume error', '%', '↓'), 'gain_dice': Metric('Gain in Dice', '', '↑'),
    'gain_volume': Metric('Gain', '%', '↑'), 'auroc_sites': Metric('AUROC of sites', '', '↑'),
    'r2': Metric('R²', '', '↑'), 'rmse': Metric('RMSE', '', '↓'), 'mae': Metric('MAE', '', '↓'),
    'pearson': Metric('Pearson', '', '↑'), 'spearman': Metric('Spearman', '', '↑'), 'bias': Metric('Bias', '', '→ 0'),
    'mase': Metric('MASE', '', '↓'),
    'folded': Metric('Folded', '%', '↓'), 'tre': Metric('TRE', 'mm', '↓'),
    'tre90': Metric('TRE, worst tenth from', 'mm', '↓'),
    'ncc': Metric('Correlation in windows', '', '↑'), 'consistency': Metric('Inverse consistency', 'mm', '↓'),
    'seconds': Metric('Time of a pair', 's', '↓'), 'gain_tre': Metric('Gain in TRE', 'mm', '↑'),
    'psnr': Metric('PSNR', 'dB', '↑'), 'ssim': Metric('SSIM', '', '↑'), 'sharpness': Metric('Sharpness', '', '→ 1'),
    'gain_psnr': Metric('Gain in PSNR', 'dB', '↑'),
    'fid': Metric('FID', '', '↓'), 'kid': Metric('KID', '', '↓'), 'recall': Metric('Recall', '', '↑'),
    'density': Metric('Density', '', '→ 1'), 'coverage': Metric('Coverage', '', '↑'),
    'diversity': Metric('Diversity', '', '→ 1'), 'nearest': Metric('Nearest', '', '→ 1'),
    'copies': Metric('Copies', '', '→ 0.05'), 'label_kept': Metric('Label kept', '', '↑'),
    'demographic_parity_difference': Metric('Demographic parity difference', '', '↓'),
    'equalised_odds_difference': Metric('Equalised odds difference', '', '↓'),
}
AT_A_TIME = ('auc', 'brier')  # the time ends the key: 'auc_12'
COUNTS = {'missed': ('Missed', 'cases in which the structure is there but not found'),
          'spurious': ('Spurious', 'cases in which the structure is found but not there')}
WIDEST = 5  # classes that still fit as columns


class Cell(NamedTuple):
    """A figure in a table: its text, a spread beside and a line below it, smaller, and words for who points at it."""

    text: str
    spread: str = ''
    below: str = ''
    title: str = ''


class Table(NamedTuple):
    """Rows (header, its explanation, cells) under headers (header, explanation)."""

    caption: str
    headers: list[tuple[str, str]]
    rows: list[tuple[str, str, list[Cell]]]


def metric_of(key: str) -> Metric:
    """How a metric is written; an unknown one under its key."""
    base, _, time = key.rpartition('_')
    if base in AT_A_TIME and re.fullmatch(r'[\d.]+(e[+-]\d+)?', time):
        return METRICS[base]._replace(name=f'{METRICS[base].name} at {time}')
    return METRICS.get(key, Metric(key))


def split_key(key: str, classes: Sequence[str]) -> tuple[str, str]:
    """A result's key as metric and class: 'volume_error_ml_grey' is of 'grey'; '' where it names none."""
    if key in METRICS:
        return key, ''
    name = max((name for name in (*classes, 'mean') if key.endswith(f'_{name}')), key=len, default='')
    return (key.removesuffix(f'_{name}'), name) if name else (key, '')


def figure(value: float | None, unit: str = '') -> str:
    """A number as a reader wants it: three decimals of a share, about three digits of a length or volume."""
    if value is None or value != value:
        return '–'
    decimals = 3 if not unit else max(0, 2 - (abs(value) >= 10) - (abs(value) >= 100))
    text = f'{value:.{decimals}f}'
    return text.replace('-', '−') if float(text) else text.lstrip('-')


def known(entry: Entry) -> bool:
    """Whether an entry has a value."""
    return entry.get('value') is not None and entry['value'] == entry['value']


def interval(entry: Entry, unit: str = '') -> str:
    """The 95 % interval, or '' where there is none."""
    limits = entry.get('ci95') or ()
    return ('–' if min(limits, default=0) >= 0 else ' to ').join(figure(limit, unit) for limit in limits)


def told(name: str, entry: Entry) -> str:
    """A figure in a sentence, with its interval in brackets, or why there is none."""
    said = interval(entry) if known(entry) else entry.get('why', '')
    return f'{name} {figure(entry.get("value"))}' + f' ({said})' * bool(said)


def beside(table: Table) -> Table:
    """A table whose intervals are beside their figures: half as long."""
    return table._replace(rows=[(*head, [cell._replace(spread=cell.spread or cell.below, below='') for cell in cells])
                                for *head, cells in table.rows])


def per_class(entries: Mapping[str, Entry], classes: Sequence[str], caption: str,
              tolerance: float | None = None) -> Table | None:
    """Metrics against classes, with n, missed and spurious; many classes become the rows.

    Args:
      entries: a split of `results.json`.
      classes: names, without the background's.
      caption: of the table.
      tolerance: of the surface distance, mm.
    """
    keys = {split_key(key, classes): entry for key, entry in entries.items()}
    names = [name for name in (*classes, 'mean') if any(name == c for _, c in keys)]
    return grid(keys, names, caption, tolerance) if set(names) & set(classes) else None


def grid(keys: Mapping[tuple[str, str], Entry], names: Sequence[str], caption: str, tolerance: float | None = None,
         counts: tuple[str, str, Mapping[str, Any]] | None = None) -> Table:
    """Metrics against columns, with n; many columns become the rows.

    Args:
      keys: entries by metric and column.
      names: the columns, each with one entry at least.
      caption: of the table.
      tolerance: of the surface distance, mm.
      counts: what is counted in place of patients: its name, its explanation, and the columns' counts.
    """
    most = {name: max(e.get('n', 0) for (_, c), e in keys.items() if c == name) for name in names}
    none = not any(most.values())  # a metric that no case has is left out, unless all are such
    metrics = dict.fromkeys(m for (m, c), e in keys.items() if c in names and (none or e.get('n', 1)))
    rows = [(*heading(m, tolerance), [cell(m, keys.get((m, c)), most[c]) for c in names]) for m in metrics]
    of = {name: next(e for (_, c), e in keys.items() if c == name) for name in names}
    unit = of[names[0]].get('unit', 'patient')
    last, explanation, counted = counts or (f'n ({unit}s)', f'{unit}s counted', most)
    rows.append((last, explanation, [Cell(str(counted[name])) for name in names]))
    rows += [(*COUNTS[count], [Cell(str(of[name].get(count, ''))) for name in names])
             for count in COUNTS if any(count in entry for entry in of.values())]
    if len(names) <= WIDEST:
        return Table(caption, [(name, '') for name in names], rows)
    return Table(caption, [row[:2] for row in rows],
                 [(name, '', [row[2][i] for row in rows]) for i, name in enumerate(names)])


def overall(entries: Mapping[str, Entry], classes: Sequence[str], caption: str) -> Table | None:
    """The metrics that are of no single class, one a row."""
    rows = []
    for key, entry in entries.items():
        if not split_key(key, classes)[1]:
            unit = metric_of(key).unit
            texts = (figure(entry.get('value'), unit), interval(entry, unit) or entry.get('why', '–'),
                     figure(entry.get('sd'), unit), str(entry.get('n', '–')))
            rows.append((*heading(key), [Cell(text) for text in texts]))
    headers = [('Mean', ''), ('95 % CI', ''), ('SD', 'standard deviation between patients'), ('n', 'counted')]
    return Table(caption, headers, rows) if rows else None


def headline(split: str, entries: Mapping[str, Entry], classes: Sequence[str]) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    lead = next((key for key in ('dice_mean', *entries) if key in entries), None)
    if lead is None:
        return f'No result on the {split} cases.', ''
    entry, (key, of) = entries[lead], split_key(lead, classes)
    name, unit, _ = metric_of(key)
    what = f'Mean {name}' if of == 'mean' else f'{name} of {of}' if of else name
    parts = [f'{c} {figure(entries[f"{key}_{c}"].get("value"), unit)}'
             for c in classes if f'{key}_{c}' in entries]
    text = f'{what} on the {split} cases: {figure(entry.get("value"), unit)} {unit}'.strip()
    text += f' ({", ".join(parts)}).' if of == 'mean' and parts else '.'
    n, cases, who = entry.get('n', 0), entry.get('cases', 0), entry.get('unit', 'patient')
    size = f'{n} {who}{"s" * (n != 1)}' + (f', {cases} cases' if cases > n else '')
    known = entry.get('ci95')
    sure = f'95 % CI {interval(entry, unit)}, n = {size}.' if known else f'{entry.get("why", size)}.'
    if 'missed' in entry:
        sure += f' Structures missed: {entry["missed"]}; found where there is none: {entry["spurious"]}.'
    return text, sure[:1].upper() + sure[1:]


def heading(key: str, tolerance: float | None = None) -> tuple[str, str]:
    """A metric's name with its unit and where it is better, and words for who points at it."""
    name, unit, arrow = metric_of(key)
    unit = f'{tolerance:g} mm tolerance' if key == 'nsd' and tolerance else unit
    return f'{name}{f" ({unit})" if unit else ""}\N{NO-BREAK SPACE}{arrow}'.strip(), ''


def cell(key: str, entry: Entry | None, most: int) -> Cell:
    """An entry as a cell; n is written where fewer patients count than for the class's other metrics, `most`."""
    if not entry:
        return Cell('')
    unit, n = metric_of(key).unit, entry.get('n', most)
    below = ', '.join(filter(None, [interval(entry, unit), f'n = {n}' if n < most else '']))
    if not known(entry) and 'why' in entry:
        below = textwrap.fill(entry['why'], 26)
    spread = '' if entry.get('sd') is None else f'± {figure(entry["sd"], unit)}'
    return Cell(figure(entry.get('value'), unit), spread, below, entry.get('why', ''))
