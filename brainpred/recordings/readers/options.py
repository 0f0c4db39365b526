"""Check what a manifest tells one reader alone."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from brainpred.errors import ManifestError
from brainpred.recordings.manifest import Manifest

__all__ = ["ReaderOptions", "files_of", "read_options"]


class ReaderOptions(BaseModel):
    """Stand for the options of a reader; those that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Options = TypeVar("Options", bound=ReaderOptions)


def read_options(manifest: Manifest, model: type[Options]) -> Options:
    """Check the options of a manifest.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    model : type
        What the reader understands.

    Returns
    -------
    ReaderOptions
        The options.

    Raises
    ------
    ManifestError
        If one is unknown, missing or of another kind.
    """
    try:
        return model.model_validate(manifest.options)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'options'}: {item['msg']}" for item in error.errors())
        raise ManifestError(
            f"Manifest {manifest.name}: the options do not fit the reader {manifest.reader} ({wrong}). It understands: "
            f"{', '.join(model.model_fields)}."
        ) from error


def files_of(manifest: Manifest, *roles: str) -> list[str]:
    """Give the names of files that a reader cannot do without.

    Parameters
    ----------
    manifest : Manifest
        The data set.
    *roles : str
        Their roles.

    Returns
    -------
    list of str
        Names as the manifest states them.

    Raises
    ------
    ManifestError
        If one is not stated.
    """
    missing = [role for role in roles if role not in manifest.files]
    if missing:
        raise ManifestError(
            f"Manifest {manifest.name}: the reader {manifest.reader} needs the files {', '.join(roles)}, but "
            f"{', '.join(missing)} is not among them. State it under files."
        )
    return [manifest.files[role] for role in roles]
