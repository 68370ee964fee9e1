"""The leaderboard of a study: collected from the results, then written as Markdown, JSON and SVG."""
