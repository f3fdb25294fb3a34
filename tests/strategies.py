"""What hypothesis draws for the wire: JSON, splits of a byte stream, and one profile for all."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

quick = settings(
    deadline=None,  # a loaded machine is no fault of the code
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""The profile of the wire's tests."""

# Every code point, lone surrogates and NUL as well: a notebook's cell can hold them.
text = st.text(alphabet=st.characters(codec=None, categories=None), max_size=40)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)

json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(text, json_values, max_size=5)


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` cut into pieces anywhere; some may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def bytewise(data: bytes) -> list[bytes]:
    """``data`` one byte at a time."""
    return [data[i : i + 1] for i in range(len(data))]
