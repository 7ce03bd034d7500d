"""The digital twin: particle morphologies -> scattered field -> sensor.

morphology  species and shapes as voxel volumes of refractive index (pollen, spores, matter, water, beads)
scene       particles at their places and depths, drawn at random or given
illumination the light and its coherence
forward     hologram of a scene: `thin` (projected), `multislice`, `lorenz-mie` (mie_scattering: spheres, exact)
aggregation how beads clump by dose and time; chamber: the biosensor's chamber, drawn; chamber_history: what it has been through, on disk
channel     what flows through the flow cytometer's channel
brightfield what a microscope shows of a scene, slice by slice
environment heat, fouling, fringes, motion, wear
sensor      pixel integration, shot and read noise, pedestal, quantisation, Bayer gains
world       the simulated instrument: lamp, pump, window with its deposits, ageing

Simulated is not recorded: nothing scored on the twin alone says how well a box does in the field.
"""
