"""From hologram to counts; pure functions on values, no drivers, no network, no disk.

background   raw frame -> Hologram, with or without a background
median       pixel by pixel, of a few frames
low_photon   frames of few photons: which they are, and how they are analysed
binning      sampled more finely or coarsely than the network knows: at other pixels, and back
locate       is anything there, and in which tiles
reconstruct  back-propagate once, run HIDEF tile by tile
image_tiles  an image network over any image, tile by tile
segment      field -> particles' masks and centres; middle_line: of long ones, their length and necks
second_look  what one pass smoothed away, put back from the hologram at the depth found
refine       a few iterations of physics on what the network found; particles as patches, depth_search
verify       does the reconstruction explain the hologram, particle by particle
scene        what the field holds, and whether the hologram bears counts of it
held_out     which reconstruction to believe: whichever predicts what it was not shown
two_fits     one hologram fitted from two starts, and where they differ; referee: a second opinion on particles, by such fits
measure      masks -> Particle: place, size, shape, skeleton, phase
fragments    pieces of one particle put together
bubbles      told from particles, in water
tracking     particles of a stream counted once
depth        distance of every particle from the pass that has been made
crops        what the classifier sees
denoise      speckle off a field, the measured one weighed by a network
count        exact Poisson intervals, concentrations; roots: of a function of one number
efficiency   share of the particles that are counted, by size
overlap      particles that lie so close that they are counted as one
aggregation  clusters of beads, their statistics, their growth; dose_response: from growth to dose, with its interval
pipeline     the stages strung together, with their provenance
obstruction  is something too large in the way
optical_health  how the optics are, from frames that are there anyway; baseline: as they were; theil_sen: a slope through outliers
report       analyses to records
panels       a picture of a frame, with close-ups from gallery
drawing      what the pictures share
views        a field as a brightfield microscope would show it, for people alone
field_picture  amplitude, phase and confidence of one reconstruction
"""
