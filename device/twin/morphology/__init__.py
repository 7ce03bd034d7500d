"""Particle shapes as voxel volumes of refractive-index contrast.

shapes   the engine: star-convex bodies with relief and walls, voxelised with anti-aliased edges
pollen   birch, grass, oak, ragweed, olive, Bermuda grass
spores   Alternaria, Cladosporium, Aspergillus/Penicillium chains
matter   mineral dust, fibres, droplets
water    diatoms, Euglena, Giardia, Cryptosporidium, rotifers, bubbles, detritus
beads    microspheres, dimers, clusters
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from device.twin.morphology.beads import BEADS
from device.twin.morphology.matter import MATTER
from device.twin.morphology.pollen import POLLEN
from device.twin.morphology.shapes import Body, Morphology, VoxelVolume, make_volume, random_rotation
from device.twin.morphology.spores import SPORES
from device.twin.morphology.water import WATER

__all__ = ["MORPHOLOGIES", "Body", "Morphology", "VoxelVolume", "make_volume", "random_rotation"]

MORPHOLOGIES: Mapping[str, Morphology] = MappingProxyType(
    {morphology.name: morphology for morphology in (*POLLEN, *SPORES, *MATTER, *WATER, *BEADS)}
)
"""Every species by name."""
