"""What all messages of the wire have in common: frozen dataclasses that check themselves when made.

messages.py has the messages themselves.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Dict, List, Tuple, Type, TypeVar, Union

from .errors import BadMessage

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """Only for who checks types."""
        return lambda decorator: decorator


Json = Dict[str, Any]
Number = Union[int, float]
T = TypeVar("T")

MAX_ID_CHARS = 200
"""Ids and session names are echoed in every event, so they are kept short."""

MAX_SECONDS = 10**9
"""The longest timeout, some thirty years: no clock of ours overflows with it."""

STREAMS = ("stdout", "stderr")

# The checks, by the annotation as it stands in messages.py. One table, so that a message's class
# body is all there is to say of it.
_TYPES: Dict[str, Tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "Number": (int, float),
    "Json": (dict,),
    "List[str]": (list,),
    "Any": (object,),
}

# The fields with bounds of their own, by name.
_NAMES = ("id", "client", "session", "subshell")
_COUNTS = ("received", "lines", "bytes")
_BOUNDED = (*_NAMES, *_COUNTS, "stream", "timeout")


@dataclass_transform(frozen_default=True)
def message(cls: Type[T]) -> Type[T]:
    """A frozen dataclass that has from `Message` what dataclass would write for each class anew.

    Three processes read this module before the first cell can run, and each is quicker so.
    """
    return dataclass(init=False, eq=False, repr=False)(cls)


class Column:
    """What is known of one field of a message class."""

    def __init__(self, source: "Field[Any]") -> None:
        text = str(source.type)
        self.name = source.name
        self.optional = text.startswith("Optional[")
        self.types = _TYPES[text[9:-1] if self.optional else text]
        self.anything = object in self.types
        self.bounded = self.types == (list,) or self.name in _BOUNDED
        factory = source.default_factory
        self.factory = None if factory is MISSING else factory
        self.default: Any = source.default if self.factory is None else self.factory()
        self.required = self.default is MISSING


_COLUMNS: Dict[type, List[Column]] = {}


def columns_of(cls: type) -> List[Column]:
    """The fields of a message class."""
    if cls not in _COLUMNS:
        _COLUMNS[cls] = [Column(each) for each in fields(cls)]
    return _COLUMNS[cls]


@message
class Message:
    """What all messages share."""

    TYPE: ClassVar[str] = ""

    def __init__(self, *args: Any, **values: Any) -> None:
        columns = columns_of(type(self))
        names = [column.name for column in columns[: len(args)]]
        if len(names) < len(args) or not values.keys().isdisjoint(names):
            raise TypeError(f"{type(self).__name__}: more values than fields, or one given twice")
        values.update(zip(names, args))
        mine = self.__dict__
        for column in columns:
            if column.name in values:
                value = mine[column.name] = values.pop(column.name)
                if value.__class__ not in column.types or column.bounded:
                    self._check_value(column, value)
            elif column.required:
                raise TypeError(f"{type(self).__name__}: missing {column.name!r}")
            else:
                mine[column.name] = column.factory() if column.factory else column.default
        if values:
            raise TypeError(f"{type(self).__name__}: no field has the name {', '.join(values)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({values})"

    def _check_value(self, column: Column, value: Any) -> None:
        if column.anything or (value is None and column.optional):
            return
        # True is an int to isinstance, but not to anybody who reads a wire format.
        wrong_bool = isinstance(value, bool) and bool not in column.types
        if not isinstance(value, column.types) or wrong_bool:
            kinds = _names(column.types)
            raise BadMessage(
                f"{self.TYPE}: {column.name!r} must be {kinds}, not {type(value).__name__}"
            )
        self._check_bounds(column.name, value)

    def _check_bounds(self, name: str, value: Any) -> None:
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise BadMessage(f"{self.TYPE}: {name!r} must be a list of str")
        if name in _NAMES and len(value) > MAX_ID_CHARS:
            raise BadMessage(f"{self.TYPE}: {name!r} is longer than {MAX_ID_CHARS} characters")
        if name == "stream" and value not in STREAMS:
            raise BadMessage(f"{self.TYPE}: {name!r} must be one of {', '.join(STREAMS)}")
        if name in _COUNTS and value < 0:
            raise BadMessage(f"{self.TYPE}: {name!r} must not be below 0")
        if name == "timeout" and not 0 <= value <= MAX_SECONDS:
            raise BadMessage(f"{self.TYPE}: {name!r} must be 0 to {MAX_SECONDS} seconds")

    def to_json(self) -> Json:
        """The message as a JSON object; keys that have their default value are left out."""
        out: Json = {"type": self.TYPE}
        for column in columns_of(type(self)):
            value = getattr(self, column.name)
            if value is not column.default and value != column.default:
                out[column.name] = value
        return out


def _names(types: Tuple[type, ...]) -> str:
    return " or ".join(t.__name__ for t in types)
