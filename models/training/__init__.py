"""What every recipe trains with.

pool     a rolling pool of simulated samples, filled by one process and read by another
loop     the training loop: resumable, seeded, on whatever Keras runs on
unet     the network family
"""
