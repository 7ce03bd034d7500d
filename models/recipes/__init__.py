"""One folder per learned system, each with a `recipe.py` that says what it is; nothing else lists them.

protocol    what every recipe does, and how it is found
hidef       one pass: focus and phase for everything in the depth; in two sizes
denoise     speckle and coherent noise off a complex field
bioaerosol  names pollen, spores and dust
water       names what swims and drifts in water
low_photon  HIDEF for frames of few photons
denoise     a laser diode's speckle off a field
brightfield what a brightfield microscope would show of a plane, for people who label
virtual_colour  phase and absorption in three colours to the picture of a stain: research only
untrained   nothing to train: a deep prior fitted to one hologram, for its table
beads       names single beads and clumps by their number of beads
"""
