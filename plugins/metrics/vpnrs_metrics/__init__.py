"""The plugin `metrics`: an OpenMetrics endpoint, with a dashboard and alert rules for it."""
