"""The image, booted: real kernel, systemd, service and file system in an emulated machine.

disks       files into and out of an image; what a disk holds after its supply was cut
machine     the emulated machine: start, read its console, cut its supply
boots       `make test-boot`: unit READY, first interval, three cuts, nothing lost, publishing again
power       `make test-power`: many cuts into PostgreSQL through the real collector
starts      first boots where something is missing or wrong
producer    what the light machine of `power` runs: the service's outbox and link without its sampler
"""
