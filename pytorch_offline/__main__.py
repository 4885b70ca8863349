"""The process: what ``pytorch-offline`` and ``python -m pytorch_offline`` run."""

import signal

# Before anything else is imported, which takes its time: until there is something to put in order, Ctrl-C just ends it.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Run the command line of this process, and exit with its code."""
    import sys  # noqa: PLC0415  (see above)

    from pytorch_offline.cli.main import run_process  # noqa: PLC0415  (see above)

    run_process(sys.argv[1:])


if __name__ == "__main__":
    main()
