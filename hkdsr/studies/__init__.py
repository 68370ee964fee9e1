"""Methods side by side: studies, their leaderboard, and the tables that papers printed."""
