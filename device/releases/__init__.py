"""Releases on a box: one tree, made by the same code for an installation, an image, a package and an update.

Standard library only, and importable from the wheel as it lies in a bundle: a bare box has nothing else.

layout      where everything lies, under a root
machine     processor, Python and C library that a release is for
bundle      the archive that a release comes in, and whether it is whole
wheels      a wheel laid out in an environment
staging     a bundle made into a release beside the others
links       which release is current, which was before, which are dropped
installing  a bundle checked, staged, activated, looked over; taken away again
system      user, settings, units, device names: the little that lies outside the tree
cli         `python -m device.releases`
"""

from device.releases.bundle import Bundle, read_bundle
from device.releases.layout import Layout, Release
from device.releases.links import activate, current, drop, previous, releases, roll_back
from device.releases.machine import Machine, this_machine
from device.releases.staging import stage

__all__ = [
    "Bundle", "Layout", "Machine", "Release", "activate", "current", "drop", "previous", "read_bundle", "releases", "roll_back",
    "stage", "this_machine",
]  # fmt: skip
