"""One file per learned system.

hidef       one pass: focus and phase for everything in the depth
classifier  names the particles
"""
