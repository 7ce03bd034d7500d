"""Coherent noise off a complex field: speckle, what is left of the twin image, and a little white noise.

recipe   the network and what its card says
scenes   what it learns from: thin grains and cells, speckle of a Gaussian pupil
scoring  what scores it: light through rough surfaces, recorded coherent noise, and the best classical filters
"""
