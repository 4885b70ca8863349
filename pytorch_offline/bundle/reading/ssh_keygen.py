"""Asking ``ssh-keygen -Y`` about a signature: the program whose judgement people know.

It gets the message on its standard input, and the small files through pipes (``/dev/fd``), so that nothing is written
anywhere and what is checked is what was read. Where it is missing, older than OpenSSH 8.2, or cannot work (a user
without an entry in passwd, as in containers), the answer is None: ``signature.py`` then verifies by itself.
"""

import os
import subprocess
import threading
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from pytorch_offline.bundle.reading.allowed_signers import KeyVerdict
from pytorch_offline.bundle.reading.ssh_signature import SshSignature, render_ssh_signature

# Names another program than ``ssh-keygen``; ``none`` for no program at all.
SSH_KEYGEN_VARIABLE = "PYTORCH_OFFLINE_SSH_KEYGEN"
_KEYGEN_PATIENCE = 60  # seconds; it takes milliseconds
# What it says where it has judged, and the judgement is no. Anything else it may say is no judgement.
_KEYGEN_REFUSALS = ("verification failed", "Could not verify signature", "No principal matched")
_DEVICE_FILES = "/dev/fd"


class KeygenAnswer(NamedTuple):
    """What the program said."""

    code: int
    out: str
    err: str


def ssh_keygen_program(environ: Mapping[str, str]) -> Optional[str]:
    """Say which program is asked; None for none."""
    named = environ.get(SSH_KEYGEN_VARIABLE, "ssh-keygen")
    return None if named in ("", "none") else named


def judge_by_ssh_keygen(
    program: str, signature: SshSignature, message: bytes, namespace: str, signers: Optional[bytes]
) -> Optional[KeyVerdict]:
    """Ask whether the signature is right, and with ``signers`` whose it is; None where the program cannot say.

    A verdict without a principal is a refusal if there are signers; its reason begins with ``incorrect`` if the
    signature itself is wrong.
    """
    armoured = render_ssh_signature(signature)
    answer = _ask_keygen(program, ["-Y", "check-novalidate", "-n", namespace, "-s", armoured], message)
    if answer is None:
        return None
    if answer.code != 0:
        return KeyVerdict(None, "incorrect: " + _last_line(answer.err + "\n" + answer.out))
    if signers is None:
        return KeyVerdict(None)
    answer = _ask_keygen(program, ["-Y", "find-principals", "-s", armoured, "-f", signers], b"")
    if answer is None:
        return None
    reason = _last_line(answer.err) or "no line has this key"
    for principal in answer.out.splitlines():
        named: List[Union[str, bytes]] = ["-I", principal, "-n", namespace, "-s", armoured, "-f", signers]
        judged = _ask_keygen(program, ["-Y", "verify", *named], message)
        if judged is None:
            return None
        if judged.code == 0:
            return KeyVerdict(principal)
        reason = judged.err.strip().splitlines()[0] if judged.err.strip() else judged.out.strip()
    return KeyVerdict(None, reason)


def _ask_keygen(program: str, arguments: Sequence[Union[str, bytes]], message: bytes) -> Optional[KeygenAnswer]:
    """Run the program; an argument of bytes is a file that it may read. None where it gave no judgement."""
    if not Path(_DEVICE_FILES).is_dir():
        return None
    lent: Dict[int, threading.Thread] = {}
    words = [program]
    try:
        for argument in arguments:
            if isinstance(argument, bytes):
                reading = _lend(argument, lent)
                words.append(f"{_DEVICE_FILES}/{reading}")
            else:
                words.append(argument)
        process = subprocess.run(
            words,
            input=message,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(lent),
            env=dict(os.environ, LC_ALL="C"),
            timeout=_KEYGEN_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    finally:
        for reading, thread in lent.items():
            os.close(reading)
            thread.join()
    out, err = process.stdout.decode("utf-8", "replace"), process.stderr.decode("utf-8", "replace")
    if process.returncode != 0 and not any(words_of in out + err for words_of in _KEYGEN_REFUSALS):
        return None
    return KeygenAnswer(process.returncode, out, err)


def _lend(data: bytes, lent: Dict[int, threading.Thread]) -> int:
    """Make a pipe that gives these bytes; ``lent`` gets its end and who fills it."""
    reading, writing = os.pipe()
    thread = threading.Thread(target=_fill_pipe, args=(writing, data), daemon=True)
    thread.start()
    lent[reading] = thread
    return reading


def _fill_pipe(writing: int, data: bytes) -> None:
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
    except OSError:  # nobody reads any more: it has judged already
        pass


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
