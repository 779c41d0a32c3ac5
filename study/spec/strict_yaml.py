"""YAML as a researcher expects it: no key twice, `1e-3` a number, `no` and `010` no surprises.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is false, `010` is 8 and `1:30` is 90. Here
booleans are `true` and `false`, integers are decimal (`100_000` is allowed), and a number with an
exponent is a number, and a whole one where its value is whole (`samples: 1e3`).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAXIMUM_DEPTH = 20


class YamlError(ValueError):
    """The text is no YAML that this reader accepts; the message names the line."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of this module's docstring, refusing duplicate keys."""

    # A table of its own: the class attribute is shared with SafeLoader otherwise.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(f"line {key_node.start_mark.line + 1}: a key must be a single word")
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in lines:
                raise YamlError(
                    f"line {line}: {key!r} is given twice in the same place "
                    f"(first on line {lines[key]}); keep one"
                )
            lines[key] = line
        # Keys are names: `no:` or `1:` must not turn into false or the number 1.
        return {
            key_node.value: self.construct_object(value_node, deep=True)
            for key_node, value_node in node.value
        }


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node)


def _construct_integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node).replace("_", ""))


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    special = text.lstrip("+-")
    if special in (".inf", ".nan"):
        return float(text.replace(".", "", 1))
    value = float(text)
    return int(value) if "e" in text and value.is_integer() and abs(value) < 2**53 else value


_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_yaml(text: str) -> Any:
    """The data of one YAML document: dict (keys are text), list, str, int, float, bool or None.

    Raises YamlError, whose message names the line, for a syntax error, a key given twice, an
    unknown tag, an anchor that holds itself, or nesting deeper than 20.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        begun = error.context_mark
        context = f" ({error.context} begun on line {begun.line + 1})" if begun and mark else ""
        raise YamlError(f"{where}{error.problem or error.context}{context}") from None
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from None
    except RecursionError:
        raise YamlError(f"nested deeper than {MAXIMUM_DEPTH}") from None
    _check_depth(data, 0)
    return data


def _check_depth(data: Any, depth: int) -> None:
    if depth > MAXIMUM_DEPTH:
        raise YamlError(f"nested deeper than {MAXIMUM_DEPTH}, or an anchor that holds itself")
    for child in (
        data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    ):
        _check_depth(child, depth + 1)
