"""Running the networks that ship.

manifest     what a model file claims to be, and whether its optics cover an instrument
bounds       manifests read, and what one may claim, whoever wrote it
interpreter  the only importer of a TFLite runtime
store        bundles: found, verified (digest, manifest, golden sample), opened
active       what changes the store: install, activate, roll back
tasks        what learned systems do here: one descriptor each, found
networks     HIDEF and classifier: arrays in, arrays out, in physical terms
coverage     whether a model does what it is configured for here, and what would
selftest     golden self-test in a process of its own; selftest_runs: starts it, limits it, remembers what passed
"""
