"""From values to nodes and back: what all kinds of values share."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Union

MAX_DEPTH = 100
"""How deep containers may be nested."""

MAX_WHERE_CHARS = 60

Load = Callable[[str], Any]
Node = Any


class Unmovable(ValueError):
    """A value that can't be moved: where it is, from the inside out, and why."""

    def __init__(self, why: str, *where: str) -> None:
        super().__init__(why)
        self.why = why
        self.where: List[str] = list(where)

    def __str__(self) -> str:
        if not self.where:
            return self.why
        return f"{''.join(reversed(self.where))} can't be moved: {self.why}"


class Packer:
    """Values to nodes and buffers.

    ``packers`` has a function for each type, and ``foreign`` one for the types of a package.
    """

    def __init__(
        self,
        packers: Mapping[type, Callable[[Packer, Any], Node]],
        foreign: Mapping[str, Callable[[Packer, Any], Node]],
    ) -> None:
        self.buffers: List[Union[bytes, memoryview]] = []
        self._packers = packers
        self._foreign = foreign
        self._open: Set[int] = set()

    def node(self, value: Any) -> Node:
        """The node of a value. `Unmovable` where there is none."""
        kind = type(value)
        pack = self._packers.get(kind)
        if pack is None:
            package = str(getattr(kind, "__module__", "")).partition(".")[0]
            pack = self._foreign.get(package)
        if pack is None:
            raise Unmovable(self.reason(value))
        return pack(self, value)

    def nodes(
        self, holder: Any, items: Iterable[Any], label: Callable[[int], str] = "[{}]".format
    ) -> List[Node]:
        """The nodes of what ``holder`` holds. ``label`` names an item by its number."""
        name = id(holder)
        if name in self._open:
            raise Unmovable("it holds itself")
        if len(self._open) >= MAX_DEPTH:
            raise Unmovable(f"it is nested deeper than {MAX_DEPTH}")
        self._open.add(name)
        out: List[Node] = []
        try:
            for item in items:
                out.append(self.node(item))
        except Unmovable as exc:
            exc.where.append(label(len(out)))
            raise
        finally:
            self._open.discard(name)
        return out

    def buffer(self, data: Union[bytes, memoryview]) -> int:
        """Keep bytes beside the tree; their number."""
        self.buffers.append(data)
        return len(self.buffers) - 1

    def reason(self, value: Any) -> str:
        """Why a value can't be moved."""
        kind = type(value)
        name = getattr(kind, "__qualname__", str(kind))
        for base in kind.__mro__[1:-1]:
            package = base.__module__.partition(".")[0]
            if base in self._packers or package in self._foreign:
                text = f"{name} is a subclass of {base.__name__}, and would come back as that"
                return f"{text}; convert it first"
        return f"{name} is not among the types that can be moved"


class Unpacker:
    """Nodes to values. ``unpackers`` has a function for each tag."""

    def __init__(
        self,
        buffers: List[memoryview],
        load: Load,
        unpackers: Mapping[str, Callable[..., Any]],
    ) -> None:
        self._buffers: List[Optional[memoryview]] = list(buffers)
        self._load = load
        self._unpackers = unpackers
        self._depth = 0
        self._loaded: Dict[str, Any] = {}

    def value(self, node: Node) -> Any:
        """The value of a node. Any kind of exception where it is none."""
        if not isinstance(node, list):
            if isinstance(node, dict):
                raise TypeError("an object is no value")
            return node
        if not node or not isinstance(node[0], str) or node[0] not in self._unpackers:
            raise ValueError(f"there is no such kind of value: {str(node[:1])[:MAX_WHERE_CHARS]}")
        if self._depth > MAX_DEPTH:
            raise ValueError(f"they are nested deeper than {MAX_DEPTH}")
        self._depth += 1
        try:
            return self._unpackers[node[0]](self, *node[1:])
        finally:
            self._depth -= 1

    def values(self, nodes: Node) -> List[Any]:
        """The values of a list of nodes."""
        if not isinstance(nodes, list):
            raise TypeError("a list is none")
        return [self.value(node) for node in nodes]

    def buffer(self, index: Node) -> memoryview:
        """The bytes with this number. Each can be had once: a small blob makes nothing large."""
        index = whole(index)
        data = self._buffers[index] if 0 <= index < len(self._buffers) else None
        if data is None:
            raise ValueError("a buffer isn't there")
        self._buffers[index] = None
        return data

    def load(self, name: str) -> Any:
        """A package, by a name that stands in the code."""
        if name not in self._loaded:
            try:
                self._loaded[name] = self._load(name)
            except ImportError as exc:
                raise ValueError(f"they need {name}; type: pip install {name}") from exc
        return self._loaded[name]

    def find(self, name: str) -> Any:
        """A package if it can be had, else None."""
        try:
            return self.load(name)
        except ValueError:
            return None


def whole(node: Node) -> int:
    """A small integer of a blob."""
    if type(node) is not int:
        raise ValueError("an integer is none")
    return node


def text(node: Node) -> str:
    """A string of a blob."""
    if type(node) is not str:
        raise ValueError("a string is none")
    return node
