"""HIDEF: holographic imaging with deep learning for extended focus.

recipe       the descriptors of its two sizes  network   their shapes
one_pass     one pass scored by defocus
scenes       what it learns from               extended  scenes that are no particles
evaluation   what scores it                    stages    what each stage of the box knows, ring by ring
second_look  the weights of its second look    transfer  for one instrument
"""
