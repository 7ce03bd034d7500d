"""One folder per learned system, each with a `recipe.py` that says what it is; nothing else lists them.

protocol    what every recipe does, and how it is found
hidef       one pass: focus and phase for everything in the depth; in two sizes
denoise     speckle and coherent noise off a complex field
bioaerosol  names pollen, spores and dust
water       names what swims and drifts in water
beads       names single beads and clumps by their number of beads
"""
