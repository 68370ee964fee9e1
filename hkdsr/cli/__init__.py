"""The command ``hkdsr``: one file a sub-command."""
