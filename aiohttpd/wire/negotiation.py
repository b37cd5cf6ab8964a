"""Content negotiation (RFC 9110 section 12.5): quality values, and the order of content codings."""

import re

from .headers import OWS, list_elements

__all__ = ["CODINGS", "IDENTITY", "accepted_codings", "accepts_html", "names_coding", "prefers_json"]

# Content codings, each with the suffix of precompressed files, in the server's order of preference.
CODINGS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
IDENTITY = "identity"

_ALIASES = {"x-gzip": "gzip"}  # RFC 9110 section 8.4.1.3
_weight = re.compile(r"(?i:q)=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch  # section 12.4.2


def _qualities(value: str) -> dict[str, float]:
    """The elements of an Accept field with their weights; malformed elements are left out."""
    found = {}
    for element in list_elements(value):
        name, _, parameters = element.partition(";")
        name, last = name.rstrip(OWS), parameters.rpartition(";")[2].strip(OWS)
        quality = 1.0
        if last[:2].lower() == "q=":
            weight = _weight(last)
            if weight is None:
                continue
            quality = float(weight[1])
        if name:
            found[_ALIASES.get(name.lower(), name.lower())] = quality
    return found


def accepted_codings(value: str | None) -> tuple[str, ...]:
    """The content codings that a client accepts, best first, up to ``identity``.

    Args:
        value: the value of Accept-Encoding; None, if the field is missing, accepts ``identity`` only.

    Returns:
        Names out of ``CODINGS``. The last one is usually ``"identity"``; it is missing if the client refuses it.
    """
    qualities = _qualities(value or "")
    others = qualities.get("*", 0.0)
    # Identity is acceptable unless it is excluded (section 12.5.3); if it is not named, it comes last.
    identity = qualities.get(IDENTITY, others if "*" in qualities and not others else 0.0001)
    weights = {coding: qualities.get(coding, others) for coding in CODINGS} | {IDENTITY: identity}
    order = sorted((name for name, weight in weights.items() if weight), key=lambda name: -weights[name])
    return tuple(order[: order.index(IDENTITY) + 1] if IDENTITY in order else order)


def names_coding(value: str) -> bool:
    """Whether the value of Accept-Encoding names a coding other than ``identity``; ``*;q=0`` names none.

    This is also true for codings that are unknown here or have the weight 0: code that only searches the text for
    ``gzip`` takes such a client for one that accepts it.
    """
    names = {element.partition(";")[0].rstrip(OWS).lower() for element in list_elements(value)}
    return bool(names - {IDENTITY, "*"}) or _qualities(value).get("*", 0.0) > 0


def prefers_json(value: str | None) -> bool:
    """Whether a client names ``application/json``, with a greater weight than HTML."""
    qualities = _qualities(value or "")
    return qualities.get("application/json", 0.0) > qualities.get("text/html", 0.0)


def accepts_html(value: str | None) -> bool:
    """Whether a client names HTML. Browsers do that for pages, but not for what a page loads."""
    qualities = _qualities(value or "")
    return any(qualities.get(name, 0.0) > 0 for name in ("text/html", "application/xhtml+xml"))
