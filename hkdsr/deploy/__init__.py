"""Using a network: enlarging images in tiles, and export to other runtimes."""
