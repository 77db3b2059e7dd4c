"""Turn the nodes of a YAML text into plain data, with merge keys and aliases resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tflq.errors import RecipeError
from tflq.strict.scalars import MAX_DEPTH, TAG, RecipeLoader
from tflq.strict.source import Location, YamlSource

MAX_PARTS = 20_000
"""The largest number of values. Only aliases of aliases exceed it, which grow without limit."""
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, except tab and newline, and halves of characters. No name and no path needs them."""

Entry = tuple[yaml.ScalarNode, yaml.Node]


class NodeReader:
    """Turns the nodes of one YAML text into plain data. Records their places and errors in the source."""

    def __init__(self, loader: RecipeLoader, source: YamlSource) -> None:
        self.loader, self.source = loader, source
        self.entries: dict[int, dict[str, Entry]] = {}
        """The entries of each mapping by the node's id. An alias leads to the same mapping again."""
        self.parts = 0

    def plain(self, node: yaml.Node, here: Location) -> Any:
        place = self.source.place(node.start_mark)
        self.source.places.setdefault(here, place)
        self.parts += 1
        if len(here) > MAX_DEPTH:
            raise RecipeError(f"{place}: this is nested too deeply: an alias (*) contains itself")
        if self.parts > MAX_PARTS:
            raise RecipeError(f"{place}: this has more than {MAX_PARTS:,} values, with aliases (*) written out")
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(child, (*here, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return dict(self._mapping(node, here))
        return self._scalar(node, place)

    def _scalar(self, node: yaml.Node, place: str) -> Any:
        resolved = self.loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        if node.tag not in (TAG + "str", resolved):
            raise RecipeError(f"{place}: {node.value!r} has the tag {node.tag.replace(TAG, '!!')}: remove the tag")
        self._refuse_characters(node.value, place)
        return self.loader.construct_object(node)

    def _refuse_characters(self, text: str, place: str) -> None:
        if match := FORBIDDEN.search(text):
            raise RecipeError(f"{place}: {text!r} has the character U+{ord(match[0]):04X}, which is not allowed here")

    def _mapping(self, node: yaml.MappingNode, here: Location) -> Iterator[tuple[str, Any]]:
        for key, (key_node, value_node) in self._entries(node, here).items():
            place = self.source.place(key_node.start_mark)
            self._refuse_characters(key, place)
            self.source.places[(*here, key)] = place
            yield key, self.plain(value_node, (*here, key))

    def _entries(self, node: yaml.MappingNode, here: Location) -> dict[str, Entry]:
        """Return the entries of the mapping. Its own keys go before those that it merges."""
        if id(node) not in self.entries:
            self.entries[id(node)] = {}  # a mapping that merges itself adds nothing
            own: dict[str, Entry] = {}
            merged: dict[str, Entry] = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    place = self.source.place(key_node.start_mark)
                    self.source.errors.append(f"{place}: a key should be plain text, without brackets")
                elif key_node.tag == TAG + "merge":
                    self._merge(merged, value_node, here)
                else:
                    self._add(own, key_node, value_node, here)
            self.entries[id(node)] = {**merged, **own}
        return self.entries[id(node)]

    def _add(self, own: dict[str, Entry], key: yaml.ScalarNode, value: yaml.Node, here: Location) -> None:
        if key.value in own:
            name = ".".join(map(str, (*here, key.value)))
            self.source.errors.append(f"{self.source.place(key.start_mark)}: {name}: this key is given twice")
        own[key.value] = (key, value)

    def _merge(self, merged: dict[str, Entry], value: yaml.Node, here: Location) -> None:
        """Add the entries of a merge key (<<). Two mappings that give one key would lose a value, so it is an error."""
        mappings = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for mapping in mappings:
            place = self.source.place(mapping.start_mark)
            if not isinstance(mapping, yaml.MappingNode):
                self.source.errors.append(f"{place}: a merge (<<) needs a mapping, such as an alias (*) of one")
                continue
            for key, entry in self._entries(mapping, here).items():
                if key in merged and merged[key][1] is not entry[1]:
                    self.source.errors.append(f"{place}: {key}: two mappings of one merge (<<) give this key")
                merged.setdefault(key, entry)
