"""The tasks of a study: each scores a reference or trains and scores one student, in a process of its own."""
