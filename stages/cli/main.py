"""The command ``iedit``: edit a picture, configure a run, summarise the last one, and operate the registry."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name

from stages.core.errors import InputError
from stages.core.files import NoRoomError, lack_of_room
from stages.core.params_file import ParameterError

CHAMPION_URI = "models:/iedit@champion"
CHALLENGER_URI = "models:/iedit@challenger"
QUALITY = ("prompt shown", "gain", "direction", "likeness", "difference", "query", "smallest mask", "largest mask")
SYSTEM_NAMES = ("sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m", "diffedit", "prompt_to_prompt")
BENCHMARK_NAMES = ("pie-bench", "magic-brush", "magic-brush-multi", "edit-bench", "folder", "made")

Command = Callable[[argparse.Namespace], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: done. 1: ``reproduce`` found a difference. 2: the input is invalid, or the request is refused. 130: interrupted.
    141: the reader of the output, for example ``head``, has closed it. 2 and 130 print one line that gives the reason.
    """
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        command: Command = resolve_name(options.function)
        code = command(options) or 0
        sys.stdout.flush()
    except (InputError, ParameterError, NoRoomError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits
        return 141
    except OSError as error:
        if lack_of_room(error) is None:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iedit", description="Text-guided editing of pictures with the trained model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: str, text: str) -> argparse.ArgumentParser:
        """Add a sub-command that a function carries out, named as "module:function": its imports are slow, so they wait."""
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(function=f"stages.cli.{function}", parser=command)
        return command

    _add_edit_options(add("edit", "edit:edit", "edit a picture and print where the results are"))
    configure = add("configure", "configure:configure", "choose preset, source and values, and compose params.yaml from them")
    configure.add_argument(
        "choices",
        nargs="*",
        metavar="KEY=VALUE",
        help="preset=paper, source=folder, train.steps=800 or, to forget a value, ~train.steps; conf/base.yaml explains the"
        " keys (default: print what is chosen)",
    )
    configure.add_argument("--compose", action="store_true", help="compose params.yaml again, without a new choice")
    _add_models_options(add("models", "models:models", "list the models that params.yaml names, with sizes and licences"))
    text = "fetch the pictures of lists of URLs (download.metadata in params.yaml) into tars, with img2dataset"
    add("download", "download:download", text)
    add("thresholds", "thresholds:thresholds", "show what thresholds on pairs and areas of masks drop, and what others would")
    add("summary", "summary:summary", "print the results of the last run, the registered model, and a command to try")

    _add_serve_options(add("serve", "serve:serve", "serve a model as a web page, over REST and with MLflow's protocol"))

    _add_benchmark_options(add("benchmark", "benchmark:benchmark", "score the systems on a benchmark, or on cases of your own"))
    _add_review_options(add("review", "review:review", "judge pairs of the training set, or two versions, on a page"))

    promote = add("promote", "registry:promote", "make a version champion if it beats the champion on the current cases")
    promote.add_argument("version", nargs="?", default=CHALLENGER_URI, help="number or URI (default: %(default)s)")
    promote.add_argument("--force", action="store_true", help="promote it whatever the gate says")
    add("rollback", "registry:rollback", "make the previous champion the champion again")
    add("history", "registry:history", "list all champions: when and why each became champion, and its scores")

    _add_export_options(add("export", "export:export", "write a registered model to a folder that diffusers opens"))

    text = "remove old versions, checkpoints of ended trainings, and data that nothing needs"
    _add_prune_options(add("prune", "prune:prune", text))
    back_up = add("backup", "backup:backup", "write the registry and the state of this project to one file, without the data")
    back_up.add_argument("file", type=Path, help="a tar; one that is there already is replaced")
    restore = add("restore", "backup:restore", "put a backup into this folder, a clone in which nothing has run")
    restore.add_argument("file", type=Path, help="what iedit backup wrote")

    lineage = add(
        "lineage", "registry:lineage", "print what a version was made from: run, commit, stages, corpus, weights, libraries"
    )
    lineage.add_argument("version", help="models:/iedit@champion, models:/iedit/3, or 3")
    text = "estimate time, machine hours, disk and memory of each stage for a corpus of any size"
    _add_plan_options(add("plan", "plan:run_plan", text))
    text = "compute the GPU memory that each stage takes with the networks of preset=paper"
    _add_memory_options(add("memory", "memory:memory", text))
    text = "rebuild a version in a clean clone and compare every stage; exit code 1 if its scores differ beyond the tolerance"
    _add_reproduce_options(add("reproduce", "reproduce:reproduce", text))
    return parser


def _add_models_options(models: argparse.ArgumentParser) -> None:
    text = "download those of the hub, only the files that are loaded, check them, and pin their commits in params.yaml"
    models.add_argument("--fetch", action="store_true", help=text)


def _add_export_options(export: argparse.ArgumentParser) -> None:
    export.add_argument("folder", type=Path, help="a new folder, which gets the model card too")
    export.add_argument("--model", default=CHAMPION_URI, help="number or URI (default: %(default)s)")
    export.add_argument("--lora", action="store_true", help="write the LoRA alone, if one was trained, instead of the model")
    export.add_argument("--half", action="store_true", help="write all weights in half precision (fp16)")


def _add_prune_options(prune: argparse.ArgumentParser) -> None:
    prune.add_argument(
        "--keep", type=int, help="newest versions to keep, besides those in use (default: upkeep.keep of params.yaml)"
    )
    prune.add_argument("--dry-run", action="store_true", help="print what would go, and remove nothing")
    prune.add_argument(
        "--max-used",
        type=float,
        metavar="GB",
        help="keep fewer versions while the project's folder and DVC's cache take more than this (default: upkeep.max_used)",
    )
    prune.add_argument(
        "--remote", help="a remote of DVC to clean too; only one that no other project pushes to (default: upkeep.prune_remote)"
    )


def _add_reproduce_options(reproduce: argparse.ArgumentParser) -> None:
    reproduce.add_argument("version", help="models:/iedit@champion, models:/iedit/3, or 3")
    reproduce.add_argument("--into", type=Path, help="folder for the clone, which is kept (default: a temporary folder)")


def _add_memory_options(memory: argparse.ArgumentParser) -> None:
    text = "value to compute it for, such as precision=fp16 or train.batch=2 (default: as in conf/config.yaml and the preset)"
    memory.add_argument("--xl", action="store_true", help="with Stable Diffusion XL base in place of Stable Diffusion 1.x")
    memory.add_argument("choices", nargs="*", metavar="KEY=VALUE", help=text)


def _add_plan_options(plan: argparse.ArgumentParser) -> None:
    plan.add_argument("--images", type=float, required=True, help="in the corpus, for example 5e9")
    plan.add_argument("--preset", choices=("paper", "embedded"), default="paper", help="default: %(default)s")
    plan.add_argument("--machines", type=int, default=1, help="default: %(default)s")
    plan.add_argument("--cores", type=int, default=16, help="of each machine (default: %(default)s)")
    plan.add_argument("--gpus", type=int, help="of each machine, where --gpu is not none (default: 1)")
    plan.add_argument(
        "--gpu", choices=("none", "t4", "v100", "a10", "a100", "h100"), default="none", help="default: %(default)s"
    )
    plan.add_argument("--gpus-per-worker", type=float, help="execution.gpus_per_worker (default: 1.0)")


def _add_benchmark_options(benchmark: argparse.ArgumentParser) -> None:
    benchmark.add_argument("name", choices=BENCHMARK_NAMES, metavar="NAME", help=", ".join(BENCHMARK_NAMES))
    benchmark.add_argument("--data", type=Path, help="its folder (default: the made benchmark is drawn)")
    benchmark.add_argument(
        "--system",
        nargs="+",
        choices=SYSTEM_NAMES,
        default=SYSTEM_NAMES,
        metavar="SYSTEM",
        help=f"of {', '.join(SYSTEM_NAMES)} (default: all)",
    )
    benchmark.add_argument("--cases", type=int, help="number of cases, the first ones (default: all; 60 of the made ones)")
    benchmark.add_argument("--out", type=Path, help="folder of the results (default: reports/latest/benchmarks/NAME)")


def _add_review_options(review: argparse.ArgumentParser) -> None:
    review.add_argument("--port", type=int, default=7861, help="of the page at 127.0.0.1 (default: %(default)s)")
    review.add_argument("--by", choices=QUALITY, default=QUALITY[0], help="score that orders the pairs (default: %(default)s)")
    review.add_argument("--reviewer", default="", help="name to write beside every judgement (default: none)")
    what = review.add_mutually_exclusive_group()
    what.add_argument("--table", action="store_true", help="print how well each score and threshold agrees with the decisions")
    versions = "two of: a version's number, models:/iedit@ALIAS, or a system of the evaluation, such as sdedit"
    what.add_argument(
        "--compare", nargs=2, metavar="VERSION", help=f"show the held-out edits of two versions, blind; {versions}"
    )
    what.add_argument("--result", nargs=2, metavar="VERSION", help="print and log which of two versions people prefer")


def _add_edit_options(edit: argparse.ArgumentParser) -> None:
    edit.add_argument("image", type=Path, help="a picture: PNG, JPEG, WebP …; 50 million pixels at most")
    edit.add_argument("prompt", help='what the edited picture shows, for example "a photograph of a train"')
    edit.add_argument(
        "--output",
        type=Path,
        default=Path("edited.png"),
        help="its name ends in .png or .webp, both without loss, or .jpg; several results are numbered (default: %(default)s)",
    )
    edit.add_argument("--term", help="the part of the prompt to find the mask by (default: the prompt)")
    edit.add_argument("--source-term", help="what to find the mask by if the picture does not show the term")
    edit.add_argument("--negative-prompt", help="what the edited picture must not show")
    mask = edit.add_mutually_exclusive_group()
    mask.add_argument(
        "--mask",
        type=Path,
        help="a black and white picture of the same size, white where the picture may change; the edit fades out around it,"
        " within a cell of the model's latents",
    )
    mask.add_argument("--no-mask", action="store_true", help="edit the whole picture")
    edit.add_argument(
        "--context",
        type=float,
        default=0.5,
        help="how much around a mask the model sees on each side, as a share of the mask's longer side, 0.25 to 8"
        " (default: %(default)s)",
    )
    edit.add_argument("--images", type=int, default=1, help="number of different results (default: %(default)s)")
    edit.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (default: %(default)s)")
    edit.add_argument(
        "--strength", type=float, help="how far the edit may depart from the picture, above 0 to 1 (default: the model's)"
    )
    edit.add_argument(
        "--guidance-scale", type=float, help="how closely the edit follows the prompt, from 1 to 100 (default: the model's)"
    )
    edit.add_argument("--steps", type=int, help="steps of the whole noise schedule, 1 to 999 (default: the model's)")
    edit.add_argument(
        "--model",
        default=CHAMPION_URI,
        help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder, used with the segmenter of params.yaml"
        " (default: %(default)s)",
    )


def _add_serve_options(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--model",
        default=CHAMPION_URI,
        help="models:/NAME@ALIAS, which is followed, models:/NAME/VERSION, or a folder (default: %(default)s)",
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default: %(default)s); other machines need the key in the variable IEDIT_API_KEY",
    )
    serve.add_argument("--port", type=int, default=5001, help="default: %(default)s")
    serve.add_argument(
        "--requests-per-minute", type=int, default=120, help="of one client; 0: any number (default: %(default)s)"
    )
    serve.add_argument(
        "--deadline", type=float, default=120, help="seconds after which a request is given up (default: %(default)s)"
    )


if __name__ == "__main__":
    sys.exit(main())
