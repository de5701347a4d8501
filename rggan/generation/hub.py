"""Generators on the Hugging Face Hub: one is read by its name, `user/name`, and put there in one commit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from rggan.errors import UserError, first_line
from rggan.run.places import WEIGHTS, find_weights

NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
OWN = "runs"  # where `rggan train` puts runs: such a name is a place, also where it is mistyped
EXTRA = 'the Hugging Face Hub needs one more library: pip install "rggan[hub]".'
LOGIN = "`hf auth login` stores one, and the variable HF_TOKEN holds one"
KEPT = {".gitattributes"}  # in every repository, from its beginning


def is_name(path: Path) -> bool:
    """Whether this means a generator on the Hub: it looks like `user/name`, and nothing here is called so.

    A name in a folder that is there, or in `runs`, is a mistyped place.

    >>> is_name(Path("ada/faces")), is_name(Path("runs/lates")), is_name(Path("faces")), is_name(Path("../a/faces"))
    (True, False, False, False)
    """
    known = NAME.fullmatch(path.as_posix()) is not None and path.parts[0] != OWN and path.suffix != ".safetensors"
    return known and not os.path.lexists(path.parts[0])


def library(name: str) -> Any:
    """huggingface_hub, which is optional.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{name} is on no disk here, and {EXTRA}") from error


def download(name: str, **how: Any) -> Path:
    """Returns the weights of the generator `name` in the library's cache, where they stay.

    Args:
        how: of `huggingface_hub.hf_hub_download`: revision, token, cache_dir, force_download, local_files_only.

    Raises:
        UserError: the library is missing; the Hub has no such generator, does not let it be read, or is out of reach.
    """
    hub = library(name)
    with told(name, "read"):
        return Path(hub.hf_hub_download(name, WEIGHTS, **how))


def located(path: Path, **how: Any) -> Path:
    """The weights that a path or a name on the Hub means; the path itself where neither has any.

    >>> located(Path("nowhere"))
    PosixPath('nowhere')
    """
    if (weights := find_weights(path)) is not None:
        return weights
    return download(path.as_posix(), **how) if is_name(path) else path


def check_upload(name: str, token: str | bool | None = None) -> None:
    """Raises UserError for what is known to fail before anything is made: a bad name, no library, no token."""
    if NAME.fullmatch(name) is None:
        raise UserError(f"A name on the Hugging Face Hub is USER/NAME, as ada/faces, not {name}.")
    try:
        hub = import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{EXTRA[0].upper()}{EXTRA[1:]}") from error
    if not token and (token is False or hub.get_token() is None):
        raise UserError(f"There is no token that may write to the Hugging Face Hub as {name}: {LOGIN}.")


def upload(
    files: Mapping[str, bytes],
    name: str,
    message: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    create_pr: bool = False,
    overwrite: bool = False,
) -> str:
    """Puts files into the repository `name`, which is made if it is not there; all of them or none, in one commit.

    Args:
        private: make a repository that only its owner sees; None: public, unless the owner's settings say otherwise.
        token: one that may write; None: the one that the library knows.
        create_pr: propose the commit to the owner instead.
        overwrite: replace files of these names in a repository that holds any; earlier ones stay in its history.

    Returns:
        The address of the commit, or of the proposal.

    Raises:
        UserError: as `check_upload`; files are there already; it is public and shall be private; the Hub refuses it or
            is out of reach.
    """
    check_upload(name, token)
    hub = import_module("huggingface_hub")
    api = hub.HfApi(token=token)
    with told(name, "written to"):
        try:
            there = api.model_info(name)
        except import_module("huggingface_hub.errors").RepositoryNotFoundError:
            there = None
        if there is not None:
            if private and not there.private:
                raise UserError(
                    f"{name} is there already, and public: `private` is for new ones. Give another name, or make it "
                    "private in its settings on the Hub."
                )
            if {file.rfilename for file in there.siblings or ()} - KEPT and not (overwrite or create_pr):
                raise UserError(
                    f"{name} holds files already: give another name, or `overwrite` to replace what has the same names "
                    "(earlier versions stay in its history)."
                )
        else:
            api.create_repo(name, private=private, exist_ok=True)
        adds = [hub.CommitOperationAdd(place, content) for place, content in files.items()]
        made = api.create_commit(name, adds, commit_message=message, create_pr=create_pr)
    return str(made.pr_url if create_pr else made.commit_url)


@contextmanager
def told(name: str, doing: str) -> Iterator[None]:
    """Whatever the library raises as a sentence (UserError). doing: after "cannot be"."""
    errors = import_module("huggingface_hub.errors")
    constants = import_module("huggingface_hub.constants")
    address = constants.ENDPOINT
    try:
        yield
    except UserError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise UserError(f"{name} cannot be {doing}: the variable HF_HUB_OFFLINE says to stay offline.") from error
    except errors.LocalEntryNotFoundError as error:
        why = "the library is told to stay offline" if constants.HF_HUB_OFFLINE else f"{address} is out of reach"
        raise UserError(f"{name} is neither a place here nor in the library's cache, and {why}.") from error
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(f"{name} on the Hugging Face Hub has no {WEIGHTS}: it is no generator of rggan.") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name} on the Hugging Face Hub has no such revision.") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{name} is only for those whom its owner lets in: ask on {address}/{name}.") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"There is no {name}, neither here nor on the Hugging Face Hub; a private one needs a token of its owner "
            f"({LOGIN})."
        ) from error
    except Exception as error:  # of the network, which has many, and whatever the Hub answers
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise UserError(
                f"{name} cannot be {doing}: the token is not valid, or may not do that ({LOGIN})."
            ) from error
        line = first_line(getattr(error, "server_message", None) or error)
        raise UserError(f"{name} cannot be {doing} at {address}: {line}.") from error
