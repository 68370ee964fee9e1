"""Studies at equal time: what a step and the preparation of each row take, and the steps that follow from them."""
