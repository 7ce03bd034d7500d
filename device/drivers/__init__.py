"""What acts on the world, one file per real thing.

ports             what lamp, camera, pump and environment promise
twin              all of them over the simulated instrument
recorded, replay  recorded frames: reading files, and as a camera
serial_protocol   the controller's packets
raw_pixels        raw buffers to counts; fresh frames told from repeated ones
serial_line       the controller's line: asking, reconnecting, keeping alive
serial_lamp, serial_pump, serial_sensors
                  what hangs on that line
cameras/          which kinds there are, each with its descriptor
picamera2_camera  a Raspberry Pi camera
v4l2_camera       any other Linux camera
supervised_camera either of them, watched: found, counted, told, started anew
absent            parts that a box is told not to have
bounded           calls into libraries that may never come back
"""
