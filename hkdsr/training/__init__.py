"""From a recipe to a trained student: the teacher's exits, the loop, checkpoints and several processes."""
