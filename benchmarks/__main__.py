"""`python -m benchmarks gpu`, `cpu`, `ranks`: what a training step takes; `decoding`: pictures. Ratios within a run."""

from __future__ import annotations

import argparse

from benchmarks import cpu, decoding, gpu, ranks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="cpu | decoding | gpu | ranks")
    for name, module in (("cpu", cpu), ("decoding", decoding), ("gpu", gpu), ("ranks", ranks)):
        command = commands.add_parser(
            name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_options(command)
        command.set_defaults(run=module.main)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
