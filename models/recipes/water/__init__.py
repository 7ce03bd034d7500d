"""The classifier of algae, protists, cysts, rotifers, bubbles and detritus in the channel.

recipe   its descriptor
classes  what it names, from what it learns, for which optics
"""
