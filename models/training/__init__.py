"""What every recipe trains with.

pool     a rolling pool of simulated samples, filled by one process and read by another
loop     the training loop: resumable, seeded, on whatever Keras runs on
losses   what training lowers
rings    fields compared ring by ring of frequencies
unet     the network family
"""
