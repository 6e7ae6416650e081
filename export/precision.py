"""Precisions, tensor groups, and recipe files that give each group its own precision."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from voxtral_edge.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRECISIONS = ("fp32", "fp16", "int8", "int4")
GROUPS = ("encoder.attention", "encoder.ffn", "adapter", "decoder.attention", "decoder.ffn", "embedding")
# int4 keeps the adapter in int8: 0.6 % of the weights, through which everything that is heard passes, and half of what
# int4 changes (KL divergence per token of the demo model 0.0052 with int4, 0.0026 with this; docs/export.md).
_EXCEPTIONS = {"int4": {"adapter": "int8"}}


def resolve_precision(wanted: str) -> dict[str, str]:
    """ "int4" or a recipe path -> {group: precision} for every group. Raises UsageError listing the valid."""
    if wanted in PRECISIONS:
        return {**dict.fromkeys(GROUPS, wanted), **_EXCEPTIONS.get(wanted, {})}
    if wanted.endswith(".toml"):
        return read_recipe(Path(wanted))
    raise UsageError(
        f"unknown precision {wanted!r}; use one of {', '.join(PRECISIONS)} or a recipe file (*.toml)"
    )


def read_recipe(path: Path) -> dict[str, str]:
    """A recipe: `default = "int4"` (optional) and a table [groups] of group = precision.

    Every group must be covered by the table or the default, which is taken literally.
    """
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {path} is not valid TOML: {error}") from error
    unknown = sorted(set(recipe) - {"default", "groups"})
    if unknown:
        raise UsageError(f"recipe {path}: unknown key {unknown[0]!r}; valid keys are default and [groups]")
    groups = _flatten(recipe.get("groups", {}), path)
    chosen = {}
    for group in groups:
        if group not in GROUPS:
            raise UsageError(f"recipe {path}: unknown group {group!r}; valid groups are {', '.join(GROUPS)}")
    for group in GROUPS:
        value = groups.get(group, recipe.get("default"))
        if value is None:
            raise UsageError(f"recipe {path}: group {group!r} has no precision and there is no default")
        if value not in PRECISIONS:
            raise UsageError(
                f"recipe {path}: {group} = {value!r} is not a precision; valid are {', '.join(PRECISIONS)}"
            )
        chosen[group] = value
    return chosen


def _flatten(groups: Any, path: Path) -> dict[str, Any]:
    """Accepts both "decoder.ffn" = ... and decoder.ffn = ... (which TOML reads as nested tables)."""
    if not isinstance(groups, dict):
        raise UsageError(f"recipe {path}: [groups] must be a table of group = precision")
    flat: dict[str, Any] = {}
    for key, value in groups.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    return flat
