"""Settings: what can be set, how it is read from TOML, and which settings a continued run must keep."""
