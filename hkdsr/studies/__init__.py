"""Studies: methods compared under equal conditions, their leaderboard, and the tables that papers published."""
