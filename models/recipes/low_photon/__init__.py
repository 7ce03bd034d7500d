"""HIDEF for frames of few photons: fast flow, a dim lamp, a weak strobe.

recipe   its descriptor
scenes   what it learns from: HIDEF's scenes, read out with few photons
scoring  what scores it: HIDEF's foreign fields, read out with few photons
"""
