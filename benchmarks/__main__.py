"""`python -m benchmarks gpu`, `cpu` and `ranks`: what a training step takes, in ratios within one run."""

from __future__ import annotations

import argparse

from benchmarks import cpu, gpu, ranks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="cpu | gpu | ranks")
    for name, module in (("cpu", cpu), ("gpu", gpu), ("ranks", ranks)):
        command = commands.add_parser(
            name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_options(command)
        command.set_defaults(run=module.main)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
