"""Kinds of camera: each module or folder here says what it is in a descriptor, `KIND`; nothing else lists them.

kinds      what a kind of camera says of itself, and which there are
picamera2  a Raspberry Pi camera      v4l2  any other Linux camera
replay     recorded frames            twin  the simulated camera
"""
