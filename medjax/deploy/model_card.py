"""The model card of an exported network: what it takes and returns, how it was trained and measured, and its limits."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import medjax
from medjax.metrics.names import MetricList
from medjax.restore import Trained
from medjax.tasks.family import of_config

NOT_STATED = 'not stated'
STATED = ('licence', 'intended_use', 'population', 'data_source', 'limitations')  # entries of config.study
BEYOND = {  # options of config.evaluate with which `predict` does more than the program
    'flips': 'averages predictions of mirrored images (config.evaluate.flips)',
    'dropout_samples': 'averages predictions with dropout (config.evaluate.dropout_samples)',
    'largest_component': 'keeps the largest component of each class (config.evaluate.largest_component)',
    'fill_holes': 'fills holes (config.evaluate.fill_holes)',
}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names, types, shapes and bytes of arrays, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f'{name} {array.dtype} {array.shape}\n'.encode() + array.tobytes())
    return total.hexdigest()


def card(config: Mapping[str, Any], run: Trained, stored: Mapping[str, np.ndarray], inputs: Mapping[str, Any],
         outputs: Mapping[str, Any], results: Mapping[str, Any], record: Mapping[str, Any],
         about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `model.json`.

    Args:
      config: of the run.
      run: the trained run.
      stored: the weights, as `program.store` returns them.
      inputs: shape and type of each input.
      outputs: the same of the outputs.
      results: the content of `results.json`; empty where there is none.
      record: the content of `environment.json`; empty where there is none.
      about: further entries: `format`, `precision`, `platforms`.
    """
    study = config.get('study') or {}
    evaluate = config.get('evaluate') or {}
    done = ('flips',) if run.predictor.program else ()
    beyond = [text for key, text in BEYOND.items() if evaluate.get(key) and key not in done]
    if 'overlap' in evaluate or evaluate.get('name') == 'segmentation':
        beyond.insert(0, 'segments whole images by overlapping windows, of which the program takes one or several')
    return {
        **about,
        'medjax': medjax.__version__, 'jax': jax.__version__,
        'family': of_config(config).name, 'model': config['model'], 'task': config['task'],
        'classes': results.get('classes', run.statistics.get('classes', [])),
        'inputs': inputs, 'outputs': outputs,
        'preprocessing': {'data': {key: value for key, value in config['data'].items() if key != 'source'},
                          'statistics': run.statistics},
        'predict_does_more': beyond,
        'step': run.step, 'weights_sha256': digest(stored),
        **{key: record.get(key) for key in ('git_commit', 'config_hash', 'data_hash', 'split_hash', 'seed',
                                            'parameters')},
        'training_data': results.get('source_notice', ''), 'counts': results.get('counts', {}),
        'metrics': results.get('test', {}), 'conventions': results.get('conventions', ''),
        'length_unit': results.get('length_unit'),
        **{key: study.get(key) or NOT_STATED for key in STATED},
    }


def cost(results: Mapping[str, Any], rounded: Mapping[str, Any], metrics: MetricList) -> dict[str, Any]:
    """The headline metrics of the test cases in float32 and with rounded weights, and their differences."""
    def value(entry: Any) -> float | None:
        return entry.get('value') if isinstance(entry, Mapping) else None

    found = {}
    for name, entry in results.get('test', {}).items():
        before, after = value(entry), value(rounded.get('test', {}).get(name))
        if before is not None and after is not None and (metric := metrics.find(name)) and metric.headline:
            found[name] = {'float32': before, 'rounded': after, 'difference': after - before, 'n': entry.get('n')}
    return found


def of_run(config: Mapping[str, Any], results: Mapping[str, Any], record: Mapping[str, Any], title: str) -> str:
    """The model card of a run as Markdown, without what an exported program takes and returns.

    Args:
      config: see `card`, as for results and record.
      results: …
      record: …
      title: its heading.
    """
    study = config.get('study') or {}
    lines = [f'# {title}', '', f'A network of medjax {medjax.__version__} for {of_config(config).name}: '
             f'`{config["model"]["name"]}`, {record.get("parameters", "?")} parameters, weights of step '
             f'{results.get("step")}.', '',
             *(f'- {name.replace("_", " ").capitalize()}: {study.get(name) or NOT_STATED}' for name in STATED),
             f'- Classes: {", ".join(map(str, results.get("classes", []))) or "none"}',
             f'- Commit: `{record.get("git_commit")}`; hash of the training data: `{record.get("data_hash")}`', '',
             'Not a medical device.', '', '## Training data', '', results.get('notice', '') or 'No notice.', '',
             ', '.join(f'{split} {count}' for split, count in results.get('counts', {}).items()), '',
             '## Metrics on the test cases', '', *_metrics(results.get('test', {})), '', results.get('conventions', '')]
    return '\n'.join(lines).rstrip() + '\n'


def markdown(content: Mapping[str, Any], title: str) -> str:
    """A model card as Markdown."""
    lines = [f'# {title}', '', f'A network of medjax {content["medjax"]} for {content["family"]}: '
             f'`{content["model"]["name"]}`, {content["parameters"] or "?"} parameters, weights of step '
             f'{content["step"]}, stored in {content["precision"]}.', '',
             *(f'- {name.replace("_", " ").capitalize()}: {content[name]}' for name in STATED),
             f'- Classes: {", ".join(map(str, content["classes"])) or "none"}',
             f'- SHA-256 of the weights: `{content["weights_sha256"]}`',
             f'- Commit: `{content["git_commit"]}`; hash of the training data: `{content["data_hash"]}`', '']
    lines += ['Not a medical device.', '', '## Inputs and outputs', '', *_arrays(content, 'inputs'),
              *_arrays(content, 'outputs'), '',
              'A letter is any size; `8*x` is any multiple of 8. `preprocessing` in the JSON file has what was done to '
              'the images before. Channels are the last axis. Before them volumes have x, y and z; 2D images have x '
              'and y in segmentation, translation, registration and growth, rows and columns in other families.', '']
    if content['predict_does_more']:
        lines += ['`medjax predict` also:', '', *(f'- {text}' for text in content['predict_does_more']), '']
    lines += ['## Training data', '', content['training_data'] or 'No notice.', '',
              ', '.join(f'{split} {count}' for split, count in content['counts'].items()), '']
    lines += ['## Metrics on the test cases', '', *_metrics(content['metrics']), '', content['conventions'], '']
    if content.get('precision_cost'):
        lines += ['## Cost of the precision', '',
                  f'| Metric | float32 | {content["precision"]} | Difference | n |', '| --- | --- | --- | --- | --- |']
        lines += [f'| {name} | {of["float32"]:.6g} | {of["rounded"]:.6g} | {of["difference"]:+.2g} | {of["n"]} |'
                  for name, of in content['precision_cost'].items()]
    return '\n'.join(lines).rstrip() + '\n'


def _arrays(content: Mapping[str, Any], kind: str) -> Sequence[str]:
    return [f'- {kind[:-1]} `{name}`: {of["dtype"]} [{", ".join(of["shape"])}]' for name, of in content[kind].items()]


def _metrics(metrics: Mapping[str, Any]) -> Sequence[str]:
    rows = [(name, of) for name, of in metrics.items() if isinstance(of, Mapping) and of.get('value') is not None]
    if not rows:
        return ['The run has no results.']
    table = ['| Metric | Value | 95 % interval | n |', '| --- | --- | --- | --- |']
    for name, of in rows:
        interval = '–'.join(f'{limit:.4g}' for limit in of['ci95']) if of.get('ci95') else ''
        table.append(f'| {name} | {of["value"]:.4g} | {interval} | {of.get("n", "")} |')
    return table
