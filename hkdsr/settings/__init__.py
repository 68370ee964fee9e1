"""Settings: what there is to set, reading it from TOML, and what must stay when a run is continued."""
