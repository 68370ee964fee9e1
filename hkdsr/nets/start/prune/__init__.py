"""The pruned start: a student cut out of its teacher and solved layer by layer."""
