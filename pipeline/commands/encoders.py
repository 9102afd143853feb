"""`iadsr encoders`: which vectors are stored, dropping what no model needs; a GGUF as a model."""

from pathlib import Path

import click

from pipeline.commands.session import existing_lake, session


@click.group("encoders")
def encoders() -> None:
    """Look at the stored vectors; drop those of no use; turn a GGUF file into a model."""


@encoders.command("list")
def list_() -> None:
    """What is stored under each encoder: texts, bytes, last use, and the models that need it."""
    from pipeline.console.lines import print_encoders
    from pipeline.steps.encoders import stored

    print_encoders(stored(existing_lake()))


@encoders.command()
@click.argument("encoder_id")
@click.option("--force", is_flag=True, help="Although models that are not promoted use it.")
def drop(encoder_id: str, force: bool) -> None:
    """Remove all vectors of ENCODER_ID in one commit; never those of the promoted model.

    The next `iadsr embed` with that encoder makes them again.
    """
    from pipeline.console.lines import print_dropped
    from pipeline.steps.encoders import drop as step

    lake = existing_lake()
    print_dropped(step(session()[0], lake, encoder_id, force=force))


@encoders.command("convert-gguf")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def convert_gguf(file: Path, folder: Path) -> None:
    """Turn a GGUF FILE into a model FOLDER, for `encoder.model`; in the interpreter of vLLM."""
    from pipeline.encoders.interpreter import convert

    convert(session()[0].encoder, file, folder)
    click.echo(folder)
