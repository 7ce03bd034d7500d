"""The workshop that makes models: imports device/, never the other way round.

recipes/    one folder per learned system: what it simulates, its network, loss, metrics, baselines, card
training/   sample pool, loop, export and quantisation, quality metrics, cards
artefacts/  shipped bundles: *.tflite with a manifest and a golden sample each
cards/      generated model cards
cli         the `holonode-models` command
"""
