"""As much of JSON Schema as the API's own OpenAPI document uses: does a value keep to what is documented?"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KNOWN = frozenset(
    (
        "$ref",
        "oneOf",
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "maxItems",
        "minimum",
        "maximum",
        "additionalProperties",
        "description",
        "default",
        "examples",
        "format",
        "contentEncoding",
    )
)


def faults(value: Any, schema: Schema, components: Mapping[str, Schema], at: str = "$") -> Iterator[str]:
    """Every place where the value is not as documented. A word of JSON Schema that is not known here is a fault too."""
    if unknown := schema.keys() - KNOWN:
        yield f"{at}: the schema says {unknown}, which this reader does not know"
    if "$ref" in schema:
        yield from faults(value, components[schema["$ref"].rpartition("/")[2]], components, at)
    if "oneOf" in schema and not any(not list(faults(value, one, components, at)) for one in schema["oneOf"]):
        yield f"{at}: is none of the kinds that are documented"
    yield from _type_faults(value, schema, at)
    if isinstance(value, dict):
        yield from _object_faults(value, schema, components, at)
    if isinstance(value, list):
        for place, inner in enumerate(value):
            yield from faults(inner, schema.get("items", {}), components, f"{at}[{place}]")


def _type_faults(value: Any, schema: Schema, at: str) -> Iterator[str]:
    named = schema.get("type", [])
    types = [named] if isinstance(named, str) else named
    if types and not any(_is(value, each) for each in types):
        yield f"{at}: {type(value).__name__} where {types} is documented"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not one of {schema['enum']}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: {value!r} does not match {schema['pattern']}"


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _object_faults(value: dict[str, Any], schema: Schema, components: Mapping[str, Schema], at: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}: lacks {name}"
    for name, inner in value.items():
        known = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
        if isinstance(known, Mapping):
            yield from faults(inner, known, components, f"{at}.{name}")
        elif known is False:
            yield f"{at}: has {name}, which is not documented"
