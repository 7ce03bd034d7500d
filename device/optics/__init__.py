"""Physics, as pure functions on arrays.

geometry         the recording geometry and its equivalent plane-wave form
propagation      band-limited angular spectrum, kernels cached by geometry
autofocus        distance with uncertainty from one hologram
phase_retrieval  single-shot iterative retrieval with sparsity, support and absorption constraints
consistency      whether a field, propagated forward, explains its hologram

Conventions: arrays are (height, width) in complex64 / float32; a field is carried from the object plane to the
sensor, over +z, by exp(+i 2 pi z sqrt(1/lambda^2 - f^2)); all lengths are micrometres.
"""
