"""How a sample is taken.

impactor  air onto a sticky window: a frame before, a volume of air, a frame after
"""
