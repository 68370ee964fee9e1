"""Network families, one a file.

Files repeat the few lines of the interface, and layers that differ only in the parameter names of published files, so
that each can be read alone beside its paper.
"""
