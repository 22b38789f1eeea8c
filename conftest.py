"""What holds for every test of the checkout, plugins' included."""

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the promise is kept.
settings.register_profile("vpnrs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vpnrs")

pytest_plugins = ["vpnrs_core.testkit"]
