"""Types of a record's fields: which numbers each can hold, checked where a record is read."""

import math
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

Count = Annotated[int, Ge(1)]
Classes = Annotated[int, Ge(2)]
FromZero = Annotated[float, Ge(0)]
WholeFromZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Points = Annotated[float, Interval(ge=0, le=100)]


class _NullIsNan:
    """Of a number that may be missing: null in a file, NaN in memory."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        number = core_schema.nullable_schema(core_schema.float_schema(ge=0, allow_inf_nan=False, strict=True))
        return core_schema.no_info_after_validator_function(lambda v: math.nan if v is None else v, number)


FromZeroOrNan = Annotated[float, _NullIsNan]
Phases = dict[str, dict[str, Annotated[float | bool, Ge(0)]]]
"""By program: seconds of each phase of compiling, and `from_cache`."""

STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""How pydantic reads a record, as `__pydantic_config__` of its class."""
