# SPDX-License-Identifier: Apache-2.0
"""The command line: one subcommand, one call into `l1ml.project`.

Exit codes: 0 passed, 1 failed (a comparison or a budget), 2 could not run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from l1ml import arguments
from l1ml.config import ProjectConfig, write_yaml
from l1ml.errors import ConfigError, L1mlError
from l1ml.verify.arguments import VERIFY_OPTIONS, add_verify_arguments
from l1ml.version import VERSION

PASSED, FAILED, NOT_RUN, INTERRUPTED = 0, 1, 2, 130

_OVERVIEW = """\
Turns a quantized neural network into a bit-exact, fixed-latency trigger block, and proves it by replay.

The usual way:
  l1ml config  --model tagger.h5 --input-type 'fixed<14,4>' --dir prj --output tagger.yml
  l1ml convert --config tagger.yml
  l1ml replay  --project prj --events events.h5
  l1ml gate    --project prj --budget budget.yml
  l1ml report  --project prj
"""
_CODES = "exit codes: 0 passed, 1 failed (a comparison or a budget), 2 could not run"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors go to stderr, without a traceback.

    Args:
        argv: arguments without the program's name; None takes them from the command line.
    """
    args = _parser().parse_args(argv, argparse.Namespace(quiet=False, debug=False))
    if args.quiet:
        os.environ["TQDM_DISABLE"] = "1"  # no progress bars
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _complain(args, "interrupted", INTERRUPTED)
    except L1mlError as error:
        return _complain(args, str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the flush at exit does not fail again
        return NOT_RUN
    except OSError as error:
        return _complain(args, _disk(error))
    except MemoryError:
        return _complain(args, "out of memory\n  fix take fewer events (--max-events), or a larger machine")
    except Exception as error:  # noqa: BLE001  the border of the program
        return _complain(args, _bug(error))


def _complain(args: argparse.Namespace, text: str, code: int = NOT_RUN) -> int:
    if args.debug:
        traceback.print_exc()
    print(f"l1ml {args.command}: {text}", file=sys.stderr)
    return code


def _disk(error: OSError) -> str:
    reason = error.strerror or str(error)
    place = f"\n  in  {os.fspath(error.filename)!s}" if isinstance(error.filename, (str, os.PathLike)) else ""
    fix = "\n  fix free some space, or choose a folder elsewhere" if error.errno == errno.ENOSPC else ""
    name = "the disk is full" if error.errno == errno.ENOSPC else "a file could not be used"
    return f"{name}: {reason}{place}{fix}"


def _bug(error: Exception) -> str:
    message = str(error).splitlines()[0][:200] if str(error) else "no message"
    return (
        f"{type(error).__name__}: {message}\n"
        "  This is a bug in l1ml, not a mistake of yours. Run the command again with --debug\n"
        "  and report what it prints."
    )


def _config(args: argparse.Namespace) -> int:
    from l1ml import project

    given = {key: getattr(args, key) for key in arguments.OPTIONS if getattr(args, key) is not None}
    if args.input_type:
        given["input_type"] = _types(args.input_type)
    mapping = project.config_from_model(args.model, args.weights, output_dir=args.dir, **given)
    for source in (args.model, args.weights):
        if source and Path(args.output).exists() and Path(args.output).samefile(source):
            raise ConfigError(
                "the configuration would replace the model",
                where=("--output", str(args.output)),
                fix="name a new file",
            )
    write_yaml(args.output, mapping)
    _say(args, f"{args.output} holds every option; edit it, then run: l1ml convert --config {args.output}")
    if mapping["precision"] is not None and "precision" not in given:
        how = (
            "from the ranges of the calibration events" if mapping["calibration"] else "fixed<16,6>, a guess"
        )
        _say(
            args,
            f"  note     the model has no quantizers of its own everywhere: types under precision are {how}",
        )
        if not mapping["calibration"]:
            _say(
                args,
                "           edit them, or give --calibration EVENTS: they are then wide enough for these",
            )
    return PASSED


def _types(texts: list[str]) -> str | dict[str, str]:
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if not all("=" in text for text in texts):
        raise ConfigError(
            f"--input-type is given {len(texts)} times, as {', '.join(texts)}",
            fix="give one type for all inputs, or NAME=TYPE for each",
        )
    return dict(text.split("=", 1) for text in texts)


def _convert(args: argparse.Namespace) -> int:
    config = ProjectConfig.read(args.config)
    from l1ml import project

    function = None
    if args.preprocess:
        from l1ml.preprocess import load_function

        function = load_function(args.preprocess)
    made = project.convert(config.model, config=config.to_mapping(), preprocess=function)
    for note in made.manifest.get("approximations", ()):
        _say(args, f"approximation: {note['what']}")
    if made.no_hardware is not None:
        _say(args, f"{made.root}: emulator only, no RTL: {made.no_hardware}")
        _precision(args, made)
        return PASSED
    facts, target, estimate = made.manifest, made.manifest["target"], made.manifest["estimate"]
    modules = f"{facts['top_module']} around {facts['core_module']}"
    _say(args, f"{made.root}: {modules}, {target['part']} at {target['clock_mhz']} MHz")
    for port in facts.get("outputs", ()):
        if port.get("softmax"):
            _say(
                args,
                f"  note     {port['name']} gives logits: the softmax at the end of the model is left out",
            )
    if target["clock_mhz"] != config.clock_mhz:
        text = f"the link is locked to the LHC: {config.clock_mhz:g} MHz is taken as {target['clock_mhz']:g}"
        _say(args, f"  note     {text}")
    _say(args, f"  latency  {made.latency}")
    _say(args, f"  interval {made.interval_cycles} clocks (an event every {target['tmux']} BX)")
    _say(
        args, f"  estimate {estimate['lut']:,.0f} LUT, {estimate['ff']:,.0f} FF (measure: l1ml build --synth)"
    )
    if "plan" in facts:
        from l1ml.report import plan

        for note in plan.notes(facts):
            _say(args, f"  note     {note}")
        _say(args, f"  engines  {len(facts['plan'])} (look: l1ml plan --project {made.root})")
    _precision(args, made)
    return PASSED


def _precision(args: argparse.Namespace, made: Any) -> None:
    """Print the errors of post-training types, where events were given to measure them."""
    if made.precision is not None:
        from l1ml import calibration

        _say(args, calibration.explain(made.precision))


def _build(args: argparse.Namespace) -> int:
    from l1ml.project import Project

    steps = {step: args.all or getattr(args, step) for step in arguments.STEPS}
    if not any(steps.values()):
        args.parser.error(
            "say what to build: --all, or any of " + ", ".join(f"--{step}" for step in arguments.STEPS)
        )
    results = Project.load(args.project).build(**steps)
    for step, result in results.items():
        _say(args, f"{step}: {_line(result)}")
    return PASSED


def _emulate(args: argparse.Namespace) -> int:
    from l1ml.project import Project

    result = Project.load(args.project).emulate(args.events, args.output)
    _say(args, f"{args.output}: {_line(result)}")
    return PASSED


def _replay(args: argparse.Namespace) -> int:
    from l1ml.project import Project

    verdict = Project.load(args.project).replay(
        args.events, max_events=args.max_events, bench=args.bench, self_test=args.self_test
    )
    return _judge(args, verdict)


def _verify(args: argparse.Namespace) -> int:
    from l1ml import verification
    from l1ml.project import Project

    project = None if args.project is None else Project.load(args.project)
    types = _types(args.input_type) if args.input_type else None
    network = verification.network(project, args.model, args.weights, types)
    return _judge(args, verification.run(network, **{key: getattr(args, key) for key in VERIFY_OPTIONS}))


def _plan(args: argparse.Namespace) -> int:
    from l1ml import actions
    from l1ml.project import Project

    _say(args, actions.show_plan(Project.load(args.project), front=args.front, json=args.json))
    return PASSED


def _weights(args: argparse.Namespace) -> int:
    from l1ml import reloading
    from l1ml.project import Project

    project = Project.load(args.project)
    pairs = project.weights(args.model, args.weights)
    args.output.write_text(reloading.text(pairs, project.manifest, str(args.model)), encoding="utf-8")
    _say(args, f"{args.output}: {len(pairs)} writes; after them one clock of weights_swap_i")
    return PASSED


def _gate(args: argparse.Namespace) -> int:
    from l1ml.project import Project

    return _judge(args, Project.load(args.project).gate(args.budget, junit=args.junit))


def _report(args: argparse.Namespace) -> int:
    from l1ml.project import Project

    for file in Project.load(args.project).report():
        _say(args, str(file))
    return PASSED


def _judge(args: argparse.Namespace, verdict: Any) -> int:
    _say(args, str(verdict))
    return PASSED if verdict.passed else FAILED


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.quiet:
        print(text)


def _line(result: object) -> str:
    if isinstance(result, Mapping):
        return ", ".join(
            f"{key} {value}" for key, value in result.items() if not isinstance(value, (Mapping, list, tuple))
        )
    return str(result)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    suppress = argparse.SUPPRESS  # else the default of a subcommand undoes an option given before it
    common.add_argument("-q", "--quiet", action="store_true", default=suppress, help="print errors only")
    common.add_argument(
        "--debug", action="store_true", default=suppress, help="show the traceback of an error"
    )
    style: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "parents": [common],
        "allow_abbrev": False,
    }
    parser = argparse.ArgumentParser(prog="l1ml", description=_OVERVIEW, epilog=_CODES, **style)
    parser.add_argument("--version", action="version", version=f"l1ml {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (run, add_arguments, what, examples) in _COMMANDS.items():
        epilog = "example:\n" + textwrap.indent("\n".join(examples), "  ") + "\n\n" + _CODES
        description = what[0].upper() + what[1:] + "."
        sub = commands.add_parser(name, help=what, description=description, epilog=epilog, **style)
        add_arguments(sub)
        sub.set_defaults(run=run, parser=sub)
    return parser


_COMMANDS: dict[
    str,
    tuple[
        Callable[[argparse.Namespace], int], Callable[[argparse.ArgumentParser], None], str, tuple[str, ...]
    ],
] = {
    "config": (
        _config,
        arguments.config_arguments,
        "write a configuration file for a model, with every option and its default",
        ("l1ml config --model tagger.h5 --input-type 'fixed<14,4>' --dir prj --output tagger.yml",),
    ),
    "convert": (
        _convert,
        arguments.convert_arguments,
        "write the firmware project: SystemVerilog, link wrapper, constraints, manifest",
        ("l1ml convert --config tagger.yml",),
    ),
    "plan": (
        _plan,
        arguments.plan_arguments,
        "show the engines of a streamed block: clocks, sharing, resources, and what other latencies would cost",
        ("l1ml plan --project prj", "l1ml plan --project prj --front"),
    ),
    "build": (
        _build,
        arguments.build_arguments,
        "run the tools that take longer than the conversion",
        ("l1ml build --project prj --all", "l1ml build --project prj --lint --synth"),
    ),
    "emulate": (
        _emulate,
        arguments.emulate_arguments,
        "run the bit-exact emulator over an event file",
        ("l1ml emulate --project prj --events events.h5 --output scores.h5",),
    ),
    "replay": (
        _replay,
        arguments.replay_arguments,
        "send events through emulator and RTL, link wrapper included, and compare everything",
        (
            "l1ml replay --project prj --events events.h5",
            "l1ml replay --project prj --events events.h5 --bench cocotb --max-events 200",
        ),
    ),
    "verify": (
        _verify,
        add_verify_arguments,
        "run the model in its own framework beside the emulator, and compare every layer",
        (
            "l1ml verify --model tagger.h5 --input-type 'fixed<14,4>' --events events.h5 --python venv/bin/python",
            "l1ml verify --project prj --python venv/bin/python --json verify.json",
        ),
    ),
    "weights": (
        _weights,
        arguments.weights_arguments,
        "write what loads a retrained model into a block with reloadable weights: addresses and data",
        ("l1ml weights --project prj --model retrained.h5 --output weights.txt",),
    ),
    "gate": (
        _gate,
        arguments.gate_arguments,
        "hold the project and its last replay against a budget",
        ("l1ml gate --project prj --budget budget.yml --junit gate.xml",),
    ),
    "report": (
        _report,
        arguments.project_argument,
        "write the report: Markdown, JSON and plots",
        ("l1ml report --project prj",),
    ),
}
