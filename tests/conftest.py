import signal

# A shell without job control starts what it runs in the background with SIGINT ignored, and children inherit that: the
# processes that tests interrupt would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
