"""The process: what ``pytorch-offline`` and ``python -m pytorch_offline`` run."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process; signals are heard before the rest is imported, which takes its time."""
    from pytorch_offline.cli.signals import Interrupted, end_in_order  # noqa: PLC0415  (see above)

    end_in_order()
    try:
        from pytorch_offline.cli.main import run_process  # noqa: PLC0415  (see above)

        run_process(sys.argv[1:])
    except Interrupted as interrupted:  # before anything was done, or after everything was
        sys.exit(interrupted.exit_code)


if __name__ == "__main__":
    main()
