"""What learned systems do on the box: each task is a file or folder of this package with a `KIND`; nothing else lists them.

kinds           what a task says of itself, and how it is found
reconstruction  from the back-propagated field to the field of what is there
low_photon      the same of frames of few photons
classification  from crops to names
image           from an image of some channels to one of others
"""
