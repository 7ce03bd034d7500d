"""What a label is called in biology; the shipped classifiers' and those of [export.taxa]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Taxon", "taxon"]


@dataclass(frozen=True)
class Taxon:
    """A scientific name; rank and kingdom empty: not said."""

    name: str
    rank: str = ""
    kingdom: str = ""


_KNOWN = {
    "alternaria": Taxon("Alternaria", "genus", "Fungi"),
    "birch": Taxon("Betula", "genus", "Plantae"),
    "centric-diatom": Taxon("Bacillariophyta", "phylum", "Chromista"),
    "cladosporium": Taxon("Cladosporium", "genus", "Fungi"),
    "cryptosporidium": Taxon("Cryptosporidium", "genus", "Chromista"),
    "euglena": Taxon("Euglena", "genus", "Protozoa"),
    "giardia": Taxon("Giardia", "genus", "Protozoa"),
    "grass": Taxon("Poaceae", "family", "Plantae"),
    "oak": Taxon("Quercus", "genus", "Plantae"),
    "penicillium": Taxon("Penicillium", "genus", "Fungi"),
    "pennate-diatom": Taxon("Bacillariophyta", "phylum", "Chromista"),
    "ragweed": Taxon("Ambrosia", "genus", "Plantae"),
    "rotifer": Taxon("Rotifera", "phylum", "Animalia"),
}


def taxon(label: str, configured: Mapping[str, str]) -> Taxon | None:
    """The organism behind a label; None where it is none (dust, beads) or not known to be one."""
    if label in configured:
        return Taxon(configured[label])
    return _KNOWN.get(label)
