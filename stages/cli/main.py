"""The command ``iedit``: edit a picture, tell what the project has made, and operate the registry."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.files import NoRoomError, lack_of_room, read_json, written_aside
from stages.core.params_file import ParameterError, read_params

if TYPE_CHECKING:  # they are slow to import, and --help needs none of them
    from PIL import Image

    from stages.core.params import Sampling
    from stages.editing.editor import Editor

CHAMPION = "models:/iedit@champion"
CHALLENGER = "models:/iedit@challenger"
OPERATIONS = {
    "promote": "make a version the champion if it is better than the present one on the current evaluation set",
    "rollback": "make the champion before this one champion again",
    "history": "list the champions: when each became that, why, and its scores",
    "lineage": "print what a version was made from, as it was recorded: run, commit, stages, corpus, weights, libraries",
    "reproduce": "make a version again in a clean clone and compare every stage; exit code 1 where one differs",
}
REPORTS = Path("reports")
TABLE, REPORT = REPORTS / "table.md", REPORTS / "report.html"
SAMPLE, SAMPLE_EDIT = REPORTS / "samples" / "source.png", REPORTS / "samples" / "edit.json"
OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 done; 1 ``reproduce`` found a difference; 2 bad input, or what was asked for is refused; 130 interrupted; 141 whoever
    reads, ``head`` for example, has read enough. 2 and 130 are told in one line.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        code = command(options) or 0
        sys.stdout.flush()
    except (InputError, ParameterError, NoRoomError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return 141
    return code


def edit(options: argparse.Namespace) -> None:
    """Edit one picture, and print where the results are."""
    from stages.editing.inputs import adjust_sampling, check_images, check_prompt, read_picture

    outputs = _outputs(options.output, check_images(options.images))
    prompt = check_prompt(options.prompt)
    term, source_term = one_line(options.term) or None, one_line(options.source_term) or None
    picture = read_picture(options.image).convert("RGB")
    mask = None if options.mask is None else read_picture(options.mask, "mask").convert("L")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    editor, sampling = _load(options.model)

    from stages.editing.editor import EditRequest, MaskMode

    mode = MaskMode.NONE if options.no_mask else MaskMode.PREDICTED if mask is None else MaskMode.GIVEN
    edits = editor.edit(
        EditRequest(image=picture, prompt=prompt, mask=mask, term=term, source_term=source_term),
        mask_mode=mode,
        images=options.images,
        seed=options.seed,
        sampling=adjust_sampling(
            sampling, strength=options.strength, guidance_scale=options.guidance_scale, steps=options.steps
        ),
    )
    for path, result in zip(outputs, edits, strict=True):
        _save(result, path)
        print(path)


def summary(_: argparse.Namespace) -> None:
    """Print the table of results, where the report is, what is registered, and a command to try."""
    if not TABLE.is_file():
        raise InputError(f"{TABLE}: no such file; run the pipeline from the folder of the project first")
    print(TABLE.read_text(encoding="utf-8").strip())
    print(f"\nreport    {REPORT}")

    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.registry import latest_version

    with store_errors_in_one_line():
        newest = latest_version()
    if newest is None:
        print("model     none is registered")
        return
    print(f"model     models:/iedit/{newest.version}, {'the' if newest.is_champion else 'not the'} champion")
    if SAMPLE.is_file() and SAMPLE_EDIT.is_file():
        try:
            sample = {name: str(read_json(SAMPLE_EDIT)[name]) for name in ("prompt", "term", "source_term")}
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{SAMPLE_EDIT}: damaged; run the stage evaluate again") from error
        terms = ["--term", sample["term"], "--source-term", sample["source_term"]]
        model = [] if newest.is_champion else ["--model", f"models:/iedit/{newest.version}"]
        print(f"try       {shlex.join(['.venv/bin/iedit', 'edit', str(SAMPLE), sample['prompt'], *terms, *model])}")


def _load(model: str) -> "tuple[Editor, Sampling]":
    """Return the editor and how it samples: of the registry, or of a folder with the segmenter of params.yaml."""
    if model.startswith("models:/"):
        from stages.tracking.errors import store_errors_in_one_line
        from stages.tracking.registry import load_editor

        with store_errors_in_one_line():
            return load_editor(model)
    if not Path(model).is_dir():
        raise InputError(f"model {model}: neither a folder nor models:/NAME@ALIAS")

    from stages.core.params import ModelName
    from stages.editing.editor import Editor
    from stages.editing.inputs import SETTINGS_FILE, read_sampling

    params, folder = read_params(), Path(model)
    if (folder / SETTINGS_FILE).is_file():
        sampling = read_sampling(folder)
    else:  # a base model, say
        print(f"model {model}: has no {SETTINGS_FILE}, so it samples as params.yaml says", file=sys.stderr)
        sampling = params.sampling
    return Editor.load(ModelName(name=model), params.evaluate.segmenter), sampling


def _outputs(path: Path, images: int) -> list[Path]:
    """Return the names of the results: edited.png, or edited-1.png and so on where there are several."""
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise InputError(f"output {path}: its name must end in one of {', '.join(OUTPUT_SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"output {path}: no such folder: {path.parent}")
    outputs = [path] if images == 1 else [path.with_stem(f"{path.stem}-{number}") for number in range(1, images + 1)]
    folder = next((output for output in outputs if output.is_dir()), None)
    if folder is not None:
        raise InputError(f"output {folder}: is a folder")
    return outputs


def _save(picture: "Image.Image", path: Path) -> None:
    """Write a picture, whole or not at all.

    Raises:
        InputError: the system does not let it.
    """
    try:
        with written_aside(path) as temporary:
            picture.save(temporary)
    except OSError as error:
        raise InputError(f"output {path}: {lack_of_room(error) or error.strerror or error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iedit", description="Text-guided editing of pictures with the trained model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("edit", help="edit a picture", description=edit.__doc__)
    one.set_defaults(command=edit)
    one.add_argument("image", type=Path, help="PNG, JPEG or WebP")
    one.add_argument("prompt", help='what the edited picture shows, for example "a photograph of a train"')
    one.add_argument("--output", type=Path, default=Path("edited.png"), help="default: %(default)s; several are numbered")
    one.add_argument(
        "--term", help="what of the prompt the edit is about; it is looked for in the picture (default: the prompt)"
    )
    one.add_argument("--source-term", help="what to look for where the term is not found in the picture")
    mask = one.add_mutually_exclusive_group()
    mask.add_argument("--mask", type=Path, help="picture of the same size, white where the edit may be")
    mask.add_argument("--no-mask", action="store_true", help="edit the whole picture")
    one.add_argument("--images", type=int, default=1, help="how many different results (default: %(default)s)")
    one.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (default: %(default)s)")
    one.add_argument("--strength", type=float, help="how much of the picture is made anew, above 0 to 1 (default: the model's)")
    one.add_argument("--guidance-scale", type=float, help="how closely the prompt is followed, from 1 (default: the model's)")
    one.add_argument("--steps", type=int, help="of the whole noise schedule (default: the model's)")
    one.add_argument(
        "--model",
        default=CHAMPION,
        help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder, with the segmenter of params.yaml (default: %(default)s)",
    )

    told = commands.add_parser("summary", help="results, report, registered model", description=summary.__doc__)
    told.set_defaults(command=summary)

    for name, text in OPERATIONS.items():
        operation = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        operation.set_defaults(command=partial(_operate, name))
        if name == "promote":
            operation.add_argument("version", nargs="?", default=CHALLENGER, help="number or URI (default: %(default)s)")
            operation.add_argument("--force", action="store_true", help="whatever the gate says")
        elif name in ("lineage", "reproduce"):
            operation.add_argument("version", help="models:/iedit@champion, models:/iedit/3, or 3")
        if name == "reproduce":
            operation.add_argument("--into", type=Path, help="folder for the clone, which is kept (default: a temporary one)")
    return parser


def _operate(name: str, options: argparse.Namespace) -> int | None:
    from stages.cli import registry as operate  # slow to import

    command: Callable[[argparse.Namespace], int | None] = getattr(operate, name)
    return command(options)


if __name__ == "__main__":
    sys.exit(main())
