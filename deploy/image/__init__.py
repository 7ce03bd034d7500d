"""An arm64 image that boots into a sampler: `make image`.

__main__     the command: root, release, boot partition, one file
debian       Debian's packages unpacked, and what their maintainers' scripts would have done
initramfs    the few modules and the program that find the root
disk         partitions and their file systems in one file
release      Holonode's release laid out in the root
first_boot   on the box: what the file on the boot partition asks for
files/       what is laid over the root, and files/boot over the boot partition
"""
