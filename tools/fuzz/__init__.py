"""Damaged files by the thousand: every one gives a result or one sentence, in little time and memory.

``python -m tools.fuzz`` runs 1,000 images, 200 models and 200 recipes, and prints one JSON line for each;
``python -m tools.fuzz --case image-0123`` runs one again and keeps its file. A case depends on the seed and its name
alone.
"""
