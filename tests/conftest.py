import signal

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does.
settings.register_profile("headgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headgate")

# A shell without job control starts what it runs in the background with SIGINT ignored, and children inherit that: the
# processes that tests interrupt would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
