"""Running a study: its rows and seeds as processes that share the work."""
