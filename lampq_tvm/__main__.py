"""The program `lampq`: every error becomes one line on stderr and an exit code."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from typing import Annotated, Any

import typer

from lampq_tvm import __version__
from lampq_tvm.cli.bench import bench
from lampq_tvm.cli.cache import cache
from lampq_tvm.cli.compile import compile
from lampq_tvm.cli.debug import debug
from lampq_tvm.cli.device import device
from lampq_tvm.cli.doctor import doctor
from lampq_tvm.cli.eval import eval
from lampq_tvm.cli.inspect import inspect
from lampq_tvm.cli.measure import measure
from lampq_tvm.cli.plan import plan
from lampq_tvm.cli.recipes import recipes
from lampq_tvm.cli.report import report
from lampq_tvm.cli.run import run
from lampq_tvm.cli.sensitivity import sensitivity
from lampq_tvm.cli.targets import targets
from lampq_tvm.cli.tune import tune
from lampq_tvm.errors import LampqError, full_disk
from lampq_tvm.lean import leave_torch_out

INTERRUPTED = 130
STDOUT = 1
WITHOUT_TORCH = ("run", "bench", "device")  # verbs that never need it; eval runs the float model beside where it is kept
# Absent on a board.
COMPILE_PACKAGES = ("torch", "torchvision", "timm", "onnx", "mip", "scipy", "packaging", "xgboost", "PIL", "ziglang")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False)
for verb in (
    compile,
    plan,
    sensitivity,
    run,
    eval,
    debug,
    bench,
    inspect,
    targets,
    recipes,
    tune,
    measure,
    doctor,
    cache,
    report,
):
    app.command(verb.__name__)(verb)
app.add_typer(device, name="device")


def _version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        print(f"lampq {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Mixed-precision Vision Transformers for Jetson and other Arm boards."""


def main() -> None:
    """Console script."""
    if sys.argv[1:] and sys.argv[1] in WITHOUT_TORCH:
        leave_torch_out()
    sys.exit(run_command(sys.argv[1:]))


def run_command(argv: list[str]) -> int:
    """Run a command line; its exit code."""
    command = typer.main.get_command(app)
    try:
        result = command.main(args=argv or ["--help"], prog_name="lampq", standalone_mode=False)
        sys.stdout.flush()
    except LampqError as e:
        return fail(str(e), e.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the reader of our stdout left (typer exits then): nothing went wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return 0
    except OSError as e:
        full = full_disk(e)
        if full is None:
            return crash(e)
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # what it was that is full; Python writes there once more at its end
        return fail(str(full), full.exit_code)
    except ModuleNotFoundError as e:
        return missing(e) if e.name in COMPILE_PACKAGES else crash(e)
    except Exception as e:
        return usage(e) if hasattr(e, "format_message") else crash(e)
    if result == INTERRUPTED:  # newer typer turns Ctrl-C into this result
        return fail(f"interrupted, what is finished is kept; go on with: lampq {shlex.join(argv)}", INTERRUPTED)
    return result if isinstance(result, int) else 0


def fail(line: str, code: int) -> int:
    """Print one line on stderr and pass on the exit code."""
    print(f"error: {line}", file=sys.stderr, flush=True)
    return code


def usage(error: Any) -> int:
    """A command line that typer cannot read."""
    return fail(f"{' '.join(error.format_message().split())} (lampq --help shows how)", 2)


def missing(error: ModuleNotFoundError) -> int:
    """A verb of the workstation on an installation for boards."""
    return fail(f"this needs {error.name}, which is not installed; pip install 'lampq-tvm[compile]'", 2)


def crash(error: Exception) -> int:
    """A bug of ours: its traceback goes to a file, or to stderr with LAMPQ_DEBUG=1."""
    text = "".join(traceback.format_exception(error))
    what = f"a bug in lampq: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if os.environ.get("LAMPQ_DEBUG"):
        print(text, file=sys.stderr)
        return fail(what, 1)
    return fail(f"{what}; the traceback is in {_save_traceback(text)}", 1)


def _save_traceback(text: str) -> str:
    """Where the traceback was saved."""
    from lampq_tvm.store import cache_dir, digest, write_atomic

    path = cache_dir() / "tracebacks" / f"{digest(text)[:16]}.txt"
    try:
        write_atomic(path, text.encode())
    except LampqError:
        return "no file, since the cache cannot be written (LAMPQ_DEBUG=1 shows it)"
    return str(path)


if __name__ == "__main__":
    main()
