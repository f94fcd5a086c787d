"""Options that several verbs share, and how they become the fields of `api.options.Options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(help="A timm name, a .pt2 or an .onnx.")]
Artifact = Annotated[Path, typer.Argument(help="The .lampq file.")]
Target = Annotated[str, typer.Option(help="host, or a board: raspberry-pi-5, jetson-agx-orin-64gb:cpu, ...")]
Data = Annotated[Path | None, typer.Option(help="Folder of class folders or of images, or .npz with images (and labels).")]
ClassOrder = Annotated[str | None, typer.Option(help="How class folders are numbered: text (torchvision) or natural (timm).")]
ClassMap = Annotated[Path | None, typer.Option(help="Which class each folder is: names by line, or JSON.")]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out broken image files instead of refusing them.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Trained weights: safetensors, or a weights-only torch file.")]
Pretrained = Annotated[bool, typer.Option("--pretrained", help="Take timm's published weights.")]
ModelArg = Annotated[list[str] | None, typer.Option(help="Argument of the timm model, k=v; may be repeated.")]
TrustModel = Annotated[bool, typer.Option("--trust-model", help="Load a .pt2, which can hold code.")]
Mean = Annotated[str | None, typer.Option(help="Mean per channel of pixels in 0..1, by commas.")]
Std = Annotated[str | None, typer.Option(help="Standard deviation per channel, by commas.")]
Size = Annotated[int | None, typer.Option(help="Side of the input image in pixels.")]
Seed = Annotated[int, typer.Option(help="Of random weights and of the draw of images.")]
Budget = Annotated[list[str] | None, typer.Option(help="4bit, 4/8bit, 16bit, 2.5ms, 0.6x, 8MiB; repeatable. [default: 8bit]")]
MaxDrop = Annotated[float | None, typer.Option(help="Largest loss of accuracy in points, shown on held-back images.")]
ValData = Annotated[Path | None, typer.Option(help="Labelled images to judge --max-drop on; else --data's unused ones.")]
ValImages = Annotated[int | None, typer.Option(help="Images that judge --max-drop, at most.")]
Tied = Annotated[bool | None, typer.Option("--tie/--separate", help="Activations take the weights' width, or any.")]
ABits = Annotated[int | None, typer.Option(help="One fixed width for all activations.")]
AttentionBits = Annotated[int, typer.Option(help="Width of q, k, v and of the attention weights; 16: float16.")]
FloatLayers = Annotated[str | None, typer.Option(help="Layers that stay float16 (CUDA): names or patterns, by commas.")]
Recipe = Annotated[str, typer.Option(help="The method: a name of `lampq recipes`, or a .toml file.")]
Softmax = Annotated[str | None, typer.Option(help="Quantizer of p: uniform or log_sqrt2. [default: the recipe's]")]
Metric = Annotated[str | None, typer.Option(help="What a bit is worth: fisher-output, lampq or kl. [default: the recipe's]")]
Alpha = Annotated[str | None, typer.Option(help="Type weights of lampq, from accuracy or loss. [default: the recipe's]")]
CalibImages = Annotated[int, typer.Option(help="Images for calibration.")]
SensImages = Annotated[int, typer.Option(help="Images for sensitivity.")]
Update = Annotated[bool | None, typer.Option(help="LampQ's error-based update of the plan. [default: the recipe's]")]
Device = Annotated[str | None, typer.Option(help="Where it runs: local, emulated, rpc://..., see lampq device list.")]
KeyFile = Annotated[Path | None, typer.Option(help="Key of a device that wants one. [default: $LAMPQ_DEVICE_KEY_FILE]")]
LatencyTable = Annotated[Path | None, typer.Option(help="A latency table measured before.")]
AllowEstimates = Annotated[bool, typer.Option("--allow-estimates", help="Let estimated latencies decide.")]
Batch = Annotated[int, typer.Option(help="Images the artifact takes at once.")]
Threads = Annotated[int | None, typer.Option(help="Cores to use, the fastest first; all where left out.")]
Trials = Annotated[int, typer.Option(help="Tuning trials per kernel; 0 takes known schedules.")]
Jobs = Annotated[int | None, typer.Option(help="Layers or images worked on at once, a thread each; all cores where left out.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Work everything out anew.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable: one line of JSON on stdout.")]


def request(
    model: str,
    model_arg: list[str] | None,
    mean: str | None,
    std: str | None,
    budget: list[str] | None = None,
    float_layers: str | None = None,
    key_file: Path | None = None,
    no_cache: bool = False,
    **rest: Any,
) -> Any:
    """The `Options` of a command line: texts are read, `--no-...` are turned round."""
    from lampq_tvm.api.options import DEFAULT, Options, parse_floats, parse_model_args

    use_key_file(key_file)

    floats = tuple(name for name in (float_layers or "").split(",") if name)
    if rest.get("metric") is not None:
        rest["metric"] = rest["metric"].replace("-", "_")
    return Options(
        model=model,
        model_args=parse_model_args(model_arg or []),
        mean=parse_floats(mean, "--mean"),
        std=parse_floats(std, "--std"),
        budgets=tuple(budget or (() if floats else (DEFAULT,))),
        float_layers=floats,
        use_cache=not no_cache,
        **rest,
    )


def use_key_file(path: Path | None) -> None:
    """Let this process and those it starts take a device's key from a file.

    Raises:
        UsageError: it holds no key, or others can read it.
    """
    if path is not None:
        from lampq_tvm.device.key import choose_file

        choose_file(path)
