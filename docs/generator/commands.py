"""Commands and launchers: their flags, from the calls of absl's `flags.DEFINE_…`, and their first comments."""

import ast
import dataclasses
import pathlib
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[2]
TYPES = {'string': 'text', 'bool': 'yes or no', 'integer': 'whole number', 'float': 'number', 'list': 'list, by commas',
         'multi_string': 'text, may be repeated', 'enum': 'one of a list', 'config_file': 'file'}


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a command.

    Attributes:
      name: without dashes.
      type: in words.
      default: as written; 'required' where the command demands the flag.
      meaning: the flag's help text.
    """

    name: str
    type: str
    default: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
      name: what is typed.
      introduction: Markdown.
      flags: its flags.
    """

    name: str
    introduction: str
    flags: Sequence[Flag] = ()


def command_modules() -> list[pathlib.Path]:
    """The modules that define flags, the main commands first."""
    paths = [path for path in sorted((ROOT / 'medjax').rglob('*.py'))
             if 'flags.DEFINE_' in path.read_text(encoding='utf-8')]
    order = ['train', 'evaluate', 'predict', 'synthesise', 'export', 'report', 'response']
    return sorted(paths, key=lambda path: (order.index(name) if (name := module_name(path).split('.')[1]) in order
                                           else len(order), str(path)))


def module_name(path: pathlib.Path) -> str:
    """The name by which a module is run, such as 'medjax.train'."""
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__main__')


def command(path: pathlib.Path) -> Command:
    """A command, read from its source."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    required = [value.value for call in calls if call.func.attr.startswith('mark_flag')
                for node in call.args for value in ast.walk(node) if isinstance(value, ast.Constant)]
    flags = sorted((call for call in calls if call.func.attr.startswith('DEFINE_')), key=lambda call: call.lineno)
    return Command(f'python -m {module_name(path)}', (ast.get_docstring(tree, clean=False) or '').strip(),
                   [_flag(call, required) for call in flags])


def _flag(call: ast.Call, required: Sequence[str]) -> Flag:
    """The flag that a call defines: `DEFINE_TYPE(name, default, [values,] help, …)`."""
    kind = call.func.attr.removeprefix('DEFINE_')
    name, default = (ast.literal_eval(node) for node in call.args[:2])
    given = call.args[3 if kind == 'enum' else 2] if len(call.args) > 2 else next(
        word.value for word in call.keywords if word.arg == 'help')
    shown = 'required' if name in required else '' if default in (None, '', []) else repr(default)
    return Flag(name, TYPES[kind], shown, ast.literal_eval(given))


def launchers() -> list[Command]:
    """The scripts in `launch/` that are run, with the comment or the docstring at their top."""
    found = [Command(f'python launch/{path.name}', ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '')
             for path in sorted((ROOT / 'launch').glob('*.py'))]
    for path in sorted((ROOT / 'launch').glob('*.sh')):
        lines = path.read_text(encoding='utf-8').splitlines()
        if not lines[0].startswith('#!'):
            continue  # sourced by the others
        comment = []
        for line in lines[1:]:
            if not line.startswith('#'):
                break
            comment.append(line.removeprefix('#').removeprefix(' '))
        found.append(Command(f'bash launch/{path.name}', '\n'.join(comment)))
    return found
