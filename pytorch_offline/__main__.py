"""Run the command line as ``python -m pytorch_offline``."""

from pytorch_offline.cli.main import main

if __name__ == "__main__":
    main()
