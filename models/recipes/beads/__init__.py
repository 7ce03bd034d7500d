"""The classifier of single beads, clumps and dust on the assay's slide.

recipe   its descriptor
classes  what it names, from what it learns, for which optics
"""
