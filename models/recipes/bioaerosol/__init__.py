"""The classifier of pollen, spores and dust on the impactor's window.

recipe   its descriptor
classes  what it names, from what it learns, for which optics
"""
