"""What two endpoints say to each other, as pure functions of bytes: no I/O, no clock, no random, no logging.

`README.md` beside this file is the wire specification. Read `connection` first; it names the rest.
"""
