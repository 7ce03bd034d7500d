"""Physics, as pure functions on arrays.

geometry         the recording geometry and its equivalent plane-wave form
propagation      band-limited angular spectrum, kernels cached by geometry; byte_cache: as far as a number of bytes reaches
fresnel          by one transform, and onto a grid of one's own choosing      fft    the one place that knows the library
pupil            what a lens, a window or a cover slip does to the wave
coherence        what partial coherence and finite pixels leave of a fringe; resolution: what they leave of detail, and why
microscope       what a brightfield microscope shows of a field in focus
autofocus        distance with uncertainty from one hologram, or why there is none; focus_criteria judges the candidates
photon_noise  amplitude from few counts, and the band above their noise
phase_retrieval  single-shot iterative retrieval with sparsity, support and absorption constraints
untrained        the same by a deep prior that nobody trained; deep_decoder: the prior and its gradient
gauss_newton     one field behind several holograms: Gauss-Newton, preconditioned in closed form
multiheight      phase retrieval from several heights or wavelengths
registration     where frames of one object lie relative to each other
super_resolution one finer frame from sub-pixel shifted ones
offaxis          carrier, order, tilt and aberrations; offaxis_reconstruction in one call, lensless_offaxis without optics
tomography       refractive index in three dimensions, from fields at many angles
speckle          grain and strength of the noise on a background
unwrapping       two-dimensional phase unwrapping; windowed_fourier takes the noise off a field before
phase_quantities optical path, volume, dry mass
lorenz_mie       exact holograms of spheres; sphere_fit finds a sphere by them
consistency      whether a field, propagated forward, explains its hologram

Conventions: arrays are (height, width) in complex64 / float32; a field is carried from the object plane to the
sensor, over +z, by exp(+i 2 pi z sqrt(1/lambda^2 - f^2)); all lengths are micrometres.
"""
