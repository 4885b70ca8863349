"""Byte code for staged modules, made by processes of the destination's interpreter.

The byte code names the module's final path, so that a traceback points where the file will be; it holds the module's
time stamp, which a rename keeps.
"""

import os
import subprocess
from typing import List, Mapping, Optional, Sequence, Tuple

# Runs under the destination's interpreter, 3.6 or newer. Each line names a module and its final path, in hex, for paths
# may hold anything; each answer is the path of the byte code, or nothing: what is no valid Python (templates, tests of
# parsers) is passed over, as pip does. Time stamps also where SOURCE_DATE_EPOCH would have hashes: as pip does.
COMPILING_WORKER = """
import os, py_compile, sys, warnings
warnings.simplefilter("ignore")
modes = getattr(py_compile, "PycInvalidationMode", None)
more = {"invalidation_mode": modes.TIMESTAMP} if modes else {}
for line in sys.stdin.buffer:
    staged, final = (os.fsdecode(bytes.fromhex(part.decode())) for part in line.strip().split())
    try:
        made = py_compile.compile(staged, dfile=final, doraise=True, **more)
    except (py_compile.PyCompileError, OSError, RecursionError, MemoryError):
        made = ""
    sys.stdout.buffer.write(os.fsencode(made or "").hex().encode() + b"\\n")
    sys.stdout.buffer.flush()
"""


class ByteCompiler:
    """One process that makes byte code; not for several threads at a time."""

    def __init__(self, interpreter: str, environment: Mapping[str, str], inherited: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [interpreter, "-I", "-B", "-c", COMPILING_WORKER],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(inherited),
        )

    def compile(self, modules: Sequence[Tuple[str, str]]) -> List[Optional[str]]:
        """Compile modules, each with its final path; give the path of each one's byte code, None where there is none.

        Raises:
            OSError: the process has ended.
        """
        found: List[Optional[str]] = []
        source, answers = self._process.stdin, self._process.stdout
        if source is None or answers is None:
            raise BrokenPipeError("there is no pipe")
        for staged, final in modules:
            line = f"{os.fsencode(staged).hex()} {os.fsencode(final).hex()}\n"
            source.write(line.encode("ascii"))
            source.flush()
            answer = answers.readline()
            if not answer:
                raise BrokenPipeError(f"the interpreter ended while it compiled {final}")
            made = os.fsdecode(bytes.fromhex(answer.decode("ascii").strip()))
            found.append(made or None)
        return found

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was not sent is not needed any more
                    continue
        self._process.wait()
