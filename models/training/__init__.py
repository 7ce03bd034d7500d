"""What every recipe trains with.

images   a system from image to image: all but its scenes, its scoring and its words
pool     a rolling pool of simulated samples, filled by one process and read by another
loop     the training loop: resumable, seeded, on whatever Keras runs on
losses   what training lowers
rings    fields compared ring by ring of frequencies
unet     the network family            restore   trained weights out of a shipped file
render   fills a pool                  curves    loss against megapixels
export   int8 .tflite, manifest, golden sample; cards: model cards; quality: statistics of evaluations
block_matching  BM3D of a complex field; field_filters: it and others, tuned, for what has to be beaten
tables   figures and bars as Markdown      hallucination  what an image invents and erases
blind_spots  what the guard can't see
classify the machinery of all classifiers: frames (simulated, kept on disk), crops (cut as the box cuts them), strangers and
         spoiled crops (to learn to say 'unknown' from), calibration (logits to probabilities), scoring; classifier_finetune: from labelled crops;
         classifier_recipe: what `holonode-models` walks
options  of recipes that learn with Keras
"""
