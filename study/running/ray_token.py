"""Ray's authentication token, looked at before Ray does.

Ray 2.60 gives a token to sessions that a driver starts, Ray 2.61 to every cluster. A driver that
connects to a cluster by its address shows its token where RAY_AUTH_MODE is `token`, and is turned
away without one: after half a minute, and with no word of a token.

Ray reads it from RAY_AUTH_TOKEN, from the file RAY_AUTH_TOKEN_PATH, or from ~/.ray/auth_token, and
writes the last where there is none. A token that no HTTP header can carry ends the whole process
from within Ray, and a home directory that cannot be written ends in a traceback.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from study.spec.messages import SpecError

VARIABLE, PATH_VARIABLE, MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"


def token_for_this_run(own_session: bool) -> dict[str, str]:
    """What to add to the environment before Ray starts. own_session: Ray is started here, so that
    a token of its own serves where none can be kept. Raises SpecError for a token that Ray cannot
    use, naming where it is."""
    if os.environ.get(MODE, "token").lower() != "token":
        return {}
    if VARIABLE in os.environ:
        _check(os.environ[VARIABLE].encode(errors="surrogateescape"), f"the variable {VARIABLE}")
        return {}
    named = os.environ.get(PATH_VARIABLE)
    try:
        path = Path(named) if named else Path.home() / ".ray" / "auth_token"
        if path.is_file():
            _check(path.read_bytes(), str(path))
            return {}
        if named:
            raise SpecError(f"{PATH_VARIABLE}: there is no file {named}: unset it, or correct it")
        if own_session:  # Ray will write there
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent).close()
        return {}
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory is known
        if named or not own_session:
            raise SpecError(f"Ray's token cannot be read: {error}; set {VARIABLE}") from None
    return {VARIABLE: secrets.token_hex(32)}


def not_let_in(address: str) -> str:
    """What to do where something answers at `address` and does not let this driver in."""
    place = VARIABLE if VARIABLE in os.environ else os.environ.get(PATH_VARIABLE)
    shown = os.environ.get(MODE, "").lower() == "token"
    return (
        f"what answers at {address!r} does not let this driver in: it is no head of a Ray cluster, "
        f"or its token is not {'the one that this driver shows' if shown else 'shown to it'}: put "
        "the cluster's token (`ray get-auth-token` on its head node prints it) into "
        f"{place or '~/.ray/auth_token'}, and set {MODE}=token"
    )


def _check(token: bytes, where: str) -> None:
    text = token.strip()
    if not text or all(32 < byte < 127 for byte in text):
        return  # Ray makes a new one in place of an empty one
    raise SpecError(
        f"Ray's authentication token in {where} is no token (it holds more than printable ASCII "
        "characters): remove it, and Ray makes a new one; on a cluster, copy the cluster's token "
        "there (`ray get-auth-token` on its head node prints it)"
    )
