"""`simcvd review`: a page on this machine to look at every scan of a round and correct it.

::

    round.py      what a WORK folder holds: scans, classes, layers, states
    scans.py      a scan as a NIfTI file that the viewer reads, and its grid
    labels.py     a label as classes in the scan's own voxels, and written back
    slices.py     one slice as an image, for browsers without WebGL2
    locks.py      who holds a scan open
    learning.py   the next round, a process of its own
    guard.py      which requests are let in
    server.py     what each address answers
    command.py    the command itself
    page/         what the browser loads; niivue.js is vendored
"""
