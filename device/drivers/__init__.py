"""What acts on the world, one file per real thing.

ports             what lamp, camera, pump and environment promise
twin              all of them over the simulated instrument
recorded, replay  recorded frames: reading files, and as a camera
serial_protocol   the controller's packets
serial_line       the controller's line: asking, reconnecting, keeping alive
serial_lamp, serial_pump, serial_sensors
                  what hangs on that line
picamera2_camera  a Raspberry Pi camera
"""
