"""Keys of trials and identities of weights: canonical JSON and its hash; settings added later do not change old ones.

A field that joins a dataclass after keys were made of it is declared with `added`: while it has its neutral value, the
one that means what was done before there was a choice, it stands in no key.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, field, fields, is_dataclass
from hashlib import sha256
from typing import Any

from bench.core.errors import BenchError

_NEUTRAL = "neutral"


def added(neutral: Any) -> Any:
    """Declare a field of a dataclass that is left out of keys while it has this value, its default."""
    return field(default=neutral, metadata={_NEUTRAL: neutral})


def settled(settings: Mapping[str, Any], declared: type | None) -> dict[str, Any]:
    """Return settings without those that were added later and have their neutral value.

    Parameters
    ----------
    settings
        Values by name.
    declared
        The dataclass whose fields say which were added later; of anything else all settings are kept.
    """
    known = fields(declared) if is_dataclass(declared) else ()
    neutral = {one.name: one.metadata[_NEUTRAL] for one in known if _NEUTRAL in one.metadata}
    return {name: value for name, value in settings.items() if name not in neutral or value != neutral[name]}


def settled_of(instance: Any) -> dict[str, Any]:
    """Return the fields of an instance of a dataclass by name, as `settled` leaves them."""
    return settled(asdict(instance), type(instance))


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces; of what it does not know, the text, unless that holds an address.

    Raises
    ------
    BenchError
        If it would: a key of it would be another one in every process.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_text)


def _text(value: Any) -> str:
    if " at 0x" in (text := str(value)):
        raise BenchError(f"{text} has no content that a key could be made of; give numbers, text or lists.")
    return text


def digest(value: Any) -> str:
    """Return 16 hex digits over the canonical JSON of a value."""
    return sha256(canonical(value).encode()).hexdigest()[:16]
