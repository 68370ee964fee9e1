"""``hkdsr app``: a local web page to enlarge images, watch trainings and start them. Needs the extra ``app``."""
