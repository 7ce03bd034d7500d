"""Brightfield holography: what a brightfield microscope would show of a refocused hologram, for people who label.

recipe   what it is              scenes  what it learns from
scoring  what is measured        world   what scores it, and the classical methods beside it
"""
