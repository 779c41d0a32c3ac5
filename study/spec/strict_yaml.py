"""YAML as a researcher expects it: no key twice, `1e-3` a number, `no` and `010` no surprises.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is false, `010` is 8 and `1:30` is 90. Here
booleans are `true` and `false`, integers are decimal (`100_000` is allowed), and a number with an
exponent is a number, and a whole one where its value is whole (`samples: 1e3`). Anchors and merge
keys (`<<: *base`) work; tags (`!!int`) do not. What is read is bounded: bytes, depth, digits, and
the values that repeated anchors come to. No library: a reader of YAML 1.2
(ruamel.yaml) makes numbers of keys such as `1`, and takes tags.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAXIMUM_DEPTH = 20
MAXIMUM_BYTES = 256 << 10
"""Of a study's text: a longer one is data, or no study."""
TOO_LONG = (
    f"is longer than {MAXIMUM_BYTES >> 10} KiB, which no study is: give seeds as their number, and "
    "the points of a law as a CSV file"
)
MAXIMUM_VALUES = 100_000
"""Keys and values of a text, those that an anchor repeats counted each time."""
MAXIMUM_DIGITS = 1000
MERGE = "<<"


class YamlError(ValueError):
    """The text is no YAML that this reader accepts; the message names the line."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of this module's docstring, refusing duplicate keys."""

    # A table of its own: the class attribute is shared with SafeLoader otherwise.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise YamlError(
                f"line {event.start_mark.line + 1}: tags such as {_shortened(event.tag)} are not "
                "used in a study: write the value alone"
            )
        composed: yaml.Node | None = super().compose_node(parent, index)
        return composed

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        merged: dict[Any, Any] = {}
        own: list[tuple[Any, yaml.Node]] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(f"line {line}: a key must be a single word")
            key = key_node.value
            if key in lines:
                raise YamlError(
                    f"line {line}: {_shortened(key)!r} is given twice in the same place "
                    f"(first on line {lines[key]}); keep one"
                )
            lines[key] = line
            if key == MERGE and key_node.style is None:
                merged = self._merged(value_node, line)
            else:
                own.append((key, value_node))
        # Keys are names: `no:` or `1:` must not turn into false or the number 1.
        return merged | {key: self.construct_object(value, deep=True) for key, value in own}

    def _merged(self, node: yaml.Node, line: int) -> dict[Any, Any]:
        """What `<<` brings in: a mapping, or a list of mappings of which the first one counts."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(source, yaml.MappingNode) for source in sources):
            raise YamlError(
                f"line {line}: {MERGE} takes the alias of a mapping, such as {MERGE}: *base, or a "
                "list of them"
            )
        merged: dict[Any, Any] = {}
        for source in reversed(sources):
            merged |= self.construct_mapping(source)
        return merged


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node)


def _construct_integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    if len(text) > MAXIMUM_DIGITS:
        raise YamlError(
            f"line {node.start_mark.line + 1}: a number of {len(text):,} digits: no key takes one"
        )
    return int(text)


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


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what either this module's reader or that of YAML 1.1 takes for more
    than text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *_Loader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }


def write_yaml(values: dict[str, Any]) -> str:
    """`values` as YAML, in their order, which `read_yaml` reads as the same."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False)
    return text.rstrip()


def read_yaml(text: str) -> Any:
    """The data of one YAML document: dict (keys are text), list, str, int, float, bool or None.

    Raises YamlError, whose message names the line, for a syntax error, a key given twice, a tag,
    an anchor that holds itself, and what is larger than this module's bounds.
    """
    if len(text.encode(errors="surrogatepass")) > MAXIMUM_BYTES:
        raise YamlError(TOO_LONG)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {}, 1)
        return loader.construct_document(node)
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


def _measure(node: yaml.Node, measured: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """(keys and values, height) of the tree that `node` stands for, every alias written out;
    nothing is walked twice. Raises YamlError beyond the bounds."""
    known = measured.get(id(node), (1, 0))
    line = f"line {node.start_mark.line + 1}: "
    if known[0] == 0 or depth + known[1] > MAXIMUM_DEPTH:
        raise YamlError(f"{line}nested deeper than {MAXIMUM_DEPTH}, or an anchor that holds itself")
    if id(node) in measured:
        return known
    measured[id(node)] = (0, 0)  # under way: an alias that leads here again holds itself
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [one for pair in node.value for one in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    sizes = [_measure(child, measured, depth + 1) for child in children]
    size = 1 + sum(count for count, _ in sizes)
    if size > MAXIMUM_VALUES:
        raise YamlError(
            f"{line}holds more than {MAXIMUM_VALUES:,} values, repeated anchors written out: give "
            "seeds as their number, and repeat fewer anchors"
        )
    measured[id(node)] = (size, 1 + max((height for _, height in sizes), default=-1))
    return measured[id(node)]
