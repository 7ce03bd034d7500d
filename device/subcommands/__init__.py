"""One file per subcommand: `add_arguments(parser)` and `execute(args) -> exit status`; heavy imports inside `execute`.

run          the service
replay       the same analysis over recorded frames
reconstruct  one reconstruction
referee      a second opinion on every particle
focus        autofocus
plan         what a configuration will do and its optics can see
arm          preflight and endurance before the box is left alone
doctor       what is present, missing, wrong, and what mends it
twin         render frames with known truth
review       crops kept for a person to look at, label and take away
models       the model store
update       signed releases and models
identity     the box's key and certificate
schema       the published schemas
export       data out of the store
window       tell the service that the window is clean
web          the dashboard's one-time code and fingerprint

Shared: check_lines (checks for a person), geometry_args (how it was recorded), reading_args (how its files are read), hologram_input (files to normalised frames),
field_output (reconstructions to .npz and pictures), tomography_input (fields at many angles to an index).
"""
